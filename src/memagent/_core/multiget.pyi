from typing import final

from memagent._core.exchange import Exchange

@final
class MultiGet(Exchange): ...
