from typing import final

from memagent._core.channel import Awaiting

@final
class Effect(Awaiting): ...
