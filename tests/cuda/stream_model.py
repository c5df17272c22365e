"""A model of streams that wait for one another.

Each stream has a clock; an event takes down the clocks of all that its stream has waited for, and a stream that waits
for the event takes them over.  Then an op is in order if its stream's clocks include whatever it needs.
"""

from collections import Counter


class Model:
    """Who has waited for whom."""

    def __init__(self):
        self.clocks = {}  # by stream: how far it knows each stream to have come
        self.done = {}  # what the host knows
        self.eager = False  # do events look finished when asked?
        self.waits = self.asked = 0
        self.last_write = {}  # by address: (stream, time)
        self.uses = {}  # by address: list of those
        self.trouble = []

    def clock(self, stream):
        return self.clocks.setdefault(stream, Counter())

    def knows(self, stream, moment):
        of, time = moment
        return max(self.clock(stream)[of], self.done.get(of, 0)) >= time

    def need(self, stream, moments, what):
        self.trouble += [(what, stream, moment) for moment in moments if not self.knows(stream, moment)]

    def op(self, stream, reads, writes):
        for address in reads:
            self.need(stream, [self.last_write[address]] if address in self.last_write else [], "read too early")
        for address in writes:
            self.need(stream, self.uses.get(address, []), "written too early")
        self.clock(stream)[stream] += 1
        now = stream, self.clock(stream)[stream]
        for address in (*reads, *writes):
            self.uses.setdefault(address, []).append(now)
        self.last_write |= dict.fromkeys(writes, now)

    def allocated(self, stream, address):
        self.need(stream, self.uses.pop(address, []), "used again too early")
        self.last_write.pop(address, None)
