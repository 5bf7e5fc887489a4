from typing import final

from typing_extensions import disjoint_base

from memagent._core.channel import Awaiting

@disjoint_base
class Waiting: ...

@disjoint_base
class Exchange(Awaiting): ...

@final
class Single(Exchange): ...

@final
class Broadcast(Exchange): ...
