from typing import final

from memagent._core.pool import Hurried

@final
class Doubt(Hurried): ...
