from typing import final

from memagent._net.poller import Handler

@final
class Lingering(Handler): ...
