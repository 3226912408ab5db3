"""Rules for what the browser gets: nothing inline, nothing from elsewhere, nothing unescaped."""

import re
from pathlib import Path

import pytest

import proxy_plugin_dashboard
from proxy_plugin_dashboard.render import _environment

PACKAGE = Path(proxy_plugin_dashboard.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates").glob("*.html"))
OWN = [*TEMPLATES, PACKAGE / "static" / "app.js", PACKAGE / "static" / "style.css", PACKAGE / "static" / "icon.svg"]


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_no_template_has_inline_code_or_style(file):
    text = file.read_text()

    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"<style|\sstyle\s*=|\son\w+\s*=|javascript:|hx-on|hx-vars|[\"']js:", text, re.IGNORECASE)
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_a_form_is_a_post_also_without_scripts_unless_it_is_a_search_without_secrets(file):
    for attributes, inside in re.findall(r"<form((?:\{\{.*?\}\}|[^>])*)>(.*?)</form>", file.read_text(), re.DOTALL):
        if re.search(r'class="search"', attributes):
            assert "password" not in inside
            assert 'name="key"' not in inside
        else:
            assert re.search(r'method="post" action="/|\{\{ (?:ui\.)?post\(', attributes), attributes
    assert file.read_text().count("<form") == file.read_text().count("</form>")


def test_the_attributes_of_an_action_make_it_a_post_without_scripts():
    attributes = str(_environment().globals["ui"].post("/admin/ui/accounts/add-key"))

    assert 'method="post" action="/admin/ui/accounts/add-key" hx-post="/admin/ui/accounts/add-key"' in attributes


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_nothing_is_loaded_from_elsewhere(file):
    assert re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w.-]+\.\w+", file.read_text()) == []


def test_what_is_vendored_has_its_licence():
    licences = (PACKAGE / "static" / "vendor" / "LICENSES.txt").read_text()

    for file in (PACKAGE / "static" / "vendor").glob("*.js"):
        assert file.name.partition(".")[0].removesuffix("-ext") in licences.replace("htmx-ext-sse", "sse")
    assert licences.count("Permission to use, copy, modify") == 3


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_what_scrolls_can_be_scrolled_with_the_keyboard(file):
    """A wide table on a narrow screen: it has to be focusable, and then have a name."""
    for tag in re.findall(r'<[^>]*class="[^"]*\bscroll\b[^>]*>', file.read_text()):
        assert 'tabindex="0"' in tag
        assert "aria-label" in tag
