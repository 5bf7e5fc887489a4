from typing import final

from typing_extensions import disjoint_base

from memagent._core.timers import Hurried

@disjoint_base
class Waiting: ...

@disjoint_base
class Exchange(Hurried): ...

@final
class Broadcast(Exchange): ...
