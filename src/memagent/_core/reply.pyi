from typing import final

@final
class ReplyParser:
    def feed(self, expects: str, data: bytes) -> list[tuple[object, ...]]: ...
