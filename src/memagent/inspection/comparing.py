"""Two copies of an item: the same, or in what do they differ? Decides, asks nobody."""

from typing import Final, Literal, NamedTuple

from memagent.inspection.client import FOREVER, Item

Finding = Literal["agree", "missing_copy", "missing_owner", "differ", "gone", "changing"]
Part = Literal["value", "flags", "ttl", "stale"]

TTL_SLACK_S: Final = 2  # servers count whole seconds, each from its own start


class Pair(NamedTuple):
    """What owner and copy have under one key."""

    owner: Item | None
    copy: Item | None

    def differences(self) -> tuple[Part, ...]:
        """In what they differ; nothing unless both are there. cas is each server's own and does not count."""
        owner, copy = self
        if owner is None or copy is None:
            return ()
        parts: list[Part] = []
        if (owner.size_bytes, owner.digest) != (copy.size_bytes, copy.digest):
            parts.append("value")
        if owner.flags != copy.flags:
            parts.append("flags")
        if not _same_ttl(owner.ttl_s, copy.ttl_s):
            parts.append("ttl")
        if owner.is_stale != copy.is_stale:
            parts.append("stale")
        return tuple(parts)

    def finding(self) -> Finding:
        """As it looks now: a write under way can make any of it but `agree` and `gone`."""
        if self.owner is None:
            return "gone" if self.copy is None else "missing_owner"
        if self.copy is None:
            return "missing_copy"
        return "differ" if self.differences() else "agree"

    def is_as_before(self, before: "Pair") -> bool:
        """Has no write come between two looks, as far as what they found is about?"""
        if self.finding() != before.finding():
            return False
        if self.finding() != "differ":
            return True
        return all(_same_item(*sides) for sides in zip(self, before, strict=True))


def knows_ttl(pair: Pair) -> bool:
    return all(item is not None and item.ttl_s is not None for item in pair)


def _same_ttl(one_s: int | None, other_s: int | None) -> bool:
    if one_s is None or other_s is None:
        return True
    if FOREVER in (one_s, other_s):
        return one_s == other_s
    return abs(one_s - other_s) <= TTL_SLACK_S


def _same_item(one: Item | None, other: Item | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.digest, one.flags, one.cas) == (other.digest, other.flags, other.cas)
