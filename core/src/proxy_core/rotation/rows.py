"""The rows of one provider: its credentials in the order of settings, and its quota groups.

A row is identified by its credential's id, so it stays the same across a reload. Times are
monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from proxy_core.clock import Clock
from proxy_core.interfaces import Credential
from proxy_core.rotation import quota
from proxy_core.rotation.changes import Changes
from proxy_core.rotation.policy import Policy
from proxy_core.rotation.state import UNUSABLE, CredentialState, QuotaGroup, Window

#: Clients choose the model names, so the number of groups is bounded.
MAX_GROUPS = 256


class Rows:
    """``rows``: the credentials that settings name, in that order. ``known``: these and the retired ones, by id."""

    def __init__(self, policy: Policy, changes: Changes) -> None:
        self.policy = policy
        self.changes = changes
        #: The offset from monotonic seconds to epoch seconds.
        self.epoch = 0.0
        self.rows: list[CredentialState] = []
        self.known: dict[str, CredentialState] = {}
        #: Least recently used first.
        self.groups: OrderedDict[str, QuotaGroup] = OrderedDict()
        #: The fair-cycle marks shared by every group, if fair cycle covers all models together.
        self._marks: dict[str, float] | None = None

    def set_time(self, clock: Clock) -> None:
        """Read the time of day, which may have been set; less than a second is only drift."""
        epoch = clock.now().timestamp() - clock.monotonic()
        if abs(epoch - self.epoch) >= 1.0:
            self.epoch = epoch

    # --- Settings ------------------------------------------------------------------------

    def configure(self, credentials: Iterable[Credential], policy: Policy, now: float) -> None:
        """Add rows for new credentials, and retire the rows of those no longer named.

        Cannot fail. The state of the others is kept, except for limits that settings changed.
        """
        before, self.policy = self.policy, policy
        priorities = {name: row.priority for name, row in self.known.items()}
        self.rows = [self._list(credential, n) for n, credential in enumerate(credentials)]
        named = {row.id for row in self.rows}
        for row in [row for name, row in self.known.items() if name not in named]:
            self._retire(row)
        self._share_cycles()
        self._share_marks()
        self._regroup()
        self._apply_caps(before, priorities, now)
        for group in self.groups.values():
            group.reset_loads(len(self.rows))
            group.dirty = set(self.rows)

    def _apply_caps(self, before: Policy, priorities: Mapping[str, int], now: float) -> None:
        """Check usage against caps that changed. ``priorities`` are those from before."""
        rows = [row for row in self.rows if row.id in priorities]
        if before.rotation.caps == self.policy.rotation.caps:
            rows = [row for row in rows if row.priority != priorities[row.id]]
        for group in self.groups.values():
            for row in rows:
                old = before.caps_for(group.name, priorities[row.id])
                if old != self.policy.caps_for(group.name, row.priority):
                    quota.apply_limits(self.policy, group, row, now)

    def _list(self, credential: Credential, position: int) -> CredentialState:
        row = self.known.get(credential.id)
        if row is None:
            row = self.known[credential.id] = CredentialState(credential.id, credential)
        elif row.credential.secret != credential.secret:
            row.cooldown = None  # it concerned the old token
        row.credential, row.position = credential, position
        row.max_concurrent, row.preferred = self.policy.concurrency(credential.priority)
        row.expires_at = expires_at(credential, self.epoch)
        row.unavailable, row.needs_login, row.needs_setup, row.note = "", False, False, ""
        return row

    def _share_cycles(self) -> None:
        cycles: dict[int, dict[str, CredentialState]] = {}
        for row in self.rows:
            cycle = cycles.setdefault(self.policy.cycle_of(row.priority), {})
            cycle[row.id] = row
            row.cycle = cycle

    def _share_marks(self) -> None:
        """Share one record of marks among all groups, or give each group its own."""
        shared = self.policy.rotation.fair_cycle_scope == "credential"
        if shared and self._marks is None:
            self._marks = {}
            for group in self.groups.values():
                self._marks |= group.marks
                group.marks = self._marks
        elif not shared and self._marks is not None:
            self._marks = None
            for group in self.groups.values():
                group.marks = dict(group.marks)

    def _regroup(self) -> None:
        """Drop the group of a model that settings now assign to another group."""
        for name in list(self.groups):
            quota_group = self.policy.parts_of(name)[0]
            if self.policy.group_of(quota_group) not in (None, quota_group):
                self._forget_group(name)

    def _retire(self, row: CredentialState) -> None:
        row.retire()
        self._drop_if_idle(row)

    def _drop_if_idle(self, row: CredentialState) -> None:
        """Drop a retired row once its last lease is returned."""
        if row.retired and not row.in_flight:
            del self.known[row.id]
            for group in self.groups.values():
                group.forget(row.id)
            self.changes.forget_credential(row.id)

    # --- Quota groups --------------------------------------------------------------------

    def group(self, model: str) -> QuotaGroup:
        """The quota group of a model: the configured one, or else a group of its own."""
        return self.group_named(self.policy.group_of(model) or model)

    def group_named(self, name: str) -> QuotaGroup:
        group = self.groups.get(name)
        if group is None:
            if len(self.groups) >= MAX_GROUPS:
                self._forget_group(next((n for n, g in self.groups.items() if self._idle(g)), next(iter(self.groups))))
            marks = {} if self._marks is None else self._marks
            group = self.groups[name] = QuotaGroup(name, marks, dirty=set(self.rows))
            group.reset_loads(len(self.rows))
        self.groups.move_to_end(name)
        return group

    def windows_of(self, group: QuotaGroup) -> Sequence[QuotaGroup]:
        """The group itself, for its main window, and one for each further window. What is set aside is so in all."""
        if not self.policy.rotation.windows:
            return (group,)
        further = [self.group_named(name) for name in self.policy.windows_of(group.name)]
        for each in further:
            each.marks = group.marks
        return (group, *further)

    def _forget_group(self, name: str) -> None:
        del self.groups[name]
        self.changes.forget_group(name)

    def _idle(self, group: QuotaGroup) -> bool:
        """Whether dropping the group would lose nothing but counts."""
        return not (
            group.cooldowns or group.of_model or group.capped or (group.marks and group.marks is not self._marks)
        )

    def _sharing_marks(self, group: QuotaGroup) -> Iterable[QuotaGroup]:
        return (other for other in self.groups.values() if other.marks is group.marks)

    def window_open(self, group: str, now: float) -> Window:
        return quota.window_open(self.policy.window_of(group), now, self.epoch)


def expires_at(credential: Credential, epoch: float) -> float:
    """When a refreshable token expires. Any other is used for as long as the provider accepts it."""
    if credential.expires_at is None or credential.refresh_token is None:
        return UNUSABLE
    return credential.expires_at.timestamp() - epoch
