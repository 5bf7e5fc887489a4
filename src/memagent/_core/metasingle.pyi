from typing import final

from memagent._core.exchange import Exchange

@final
class Asked: ...

@final
class MetaSingle(Exchange): ...
