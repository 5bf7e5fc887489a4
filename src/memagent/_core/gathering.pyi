from typing import final

from memagent._core.exchange import Exchange, Waiting

@final
class Share(Waiting): ...

@final
class Gathering(Exchange): ...
