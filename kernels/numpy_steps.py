"""The Python text of a NumPy kernel: which buffer each step writes, and the lines that do it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gradcore.kernels.expr import Expr
from gradcore.kernels.numpy_plan import BOOLEAN, EXACT, FLOATING, Form, Plan, literal


def eager_source(plan: Plan) -> list[str]:
    """`call(*arrays)`: the first temporary is allocated by NumPy, later ones reuse dead ones.

    Reuse through `out` needs arrays (0-d results are NumPy scalars, which cannot be written) of
    the right shape and dtype. So there are up to three bodies of the same ufunc calls: where all
    inputs have one shape; where values that depend on the same inputs share a buffer; and plain.
    """
    shaped, uniform = _Eager(plan), _Eager(plan.uniform(), uniform=True)
    lines = typed_lines(plan)
    if len(plan.all) > 1 and (uniform.reused > shaped.reused or not all(plain_outputs(plan))):
        lines += uniform.guarded(uniform.one_shape(" != ()"))
    if shaped.reused:
        lines += shaped.guarded(shaped.not_scalar())
    head = f"def call({', '.join(plan.inputs)}):"
    return [head, *_indent([*lines, *_Eager(plan, reuse=False).body()])]


def plain_source(plan: Plan) -> list[str]:
    """`call(*arrays)` by its last body alone."""
    return [f"def call({', '.join(plan.inputs)}):", *_indent([*typed_lines(plan), *_Eager(plan, reuse=False).body()])]


def into_source(plan: Plan) -> list[str]:
    """`into(outs, scratch, *arrays)`: the steps of `call`, in memory that the caller provides."""
    outs = "".join(f"out{place}, " for place in range(len(plan.outputs)))
    lines = [f"{outs.rstrip()} = outs", *typed_lines(plan)]
    general, uniform = _Into(plan), _Into(plan.uniform(), uniform=True)
    if len(plan.all) > 1 and uniform.cost() < general.cost():
        lines += [f"if {uniform.one_shape()}:", *_indent([*uniform.lines, "return"])]
    head = f"def into(outs, scratch, {', '.join(plan.inputs)}):"
    return [head, *_indent(lines + general.lines)]


def typed_lines(plan: Plan) -> list[str]:
    """Definitions of the numbers that take their dtype from the inputs."""
    return [
        f"{name} = np_result_type({_numeric(plan)}{literal(number)}).type({literal(number)})"
        for (_, number), name in plan.typed.items()
    ]


def written(node: Expr, args: list[str], out: str) -> str:
    """The ufunc call of `node` into `out`, by position where NumPy allows it, as that is faster."""
    last = f"out={out}" if node.leaf in ("maximum", "minimum") else out
    return f"np_{node.leaf}({', '.join([*args, last])})"


def plain_outputs(plan: Plan) -> list[bool]:
    """For every output, whether it is a fresh full-sized value."""
    return [plan.is_plain(place) for place in range(len(plan.outputs))]


class _Values:
    """The text of every value so far, and which of them are buffers of the kernel's own."""

    def __init__(self, plan: Plan, uniform: bool = False) -> None:
        self.plan = plan
        self.uniform = uniform
        self.crossed = False
        self.buffers: dict[Expr, tuple[str, Form]] = {}
        self.free: list[tuple[str, Form]] = []
        self.count = 0

    def text(self, node: Expr, user: Expr) -> str:
        """`node` as an argument of `user`."""
        if node in self.buffers:
            return self.buffers[node][0]
        if node.leaf == "var":
            return self.plan.names[node.value]
        return self.plan.typed.get((user, node)) or literal(node)

    def args(self, node: Expr) -> list[str]:
        """The arguments of `node`."""
        return [self.text(argument, node) for argument in node.args]

    def release(self, arguments: Iterable[Expr], at: int) -> None:
        """Free the buffers of those `arguments` that are read for the last time at step `at`."""
        for argument in dict.fromkeys(arguments):
            if argument in self.buffers and self.plan.last_use[argument] == at:
                self.free.append(self.buffers[argument])

    def fits(self, buffer: Form, form: Form) -> bool:
        """Whether a value of `form` may be kept in `buffer`, which may be EXACT for FLOATING."""
        kinds = buffer.kind == form.kind or (buffer.kind, form.kind) == (EXACT, FLOATING)
        same = buffer.source == form.source
        return kinds and buffer.shape == form.shape and (same or self.uniform)

    def take(self, form: Form, avoid: frozenset[str] = frozenset()) -> tuple[str, Form] | None:
        """A free buffer for a value of `form`, the one freed last first."""
        for buffer in reversed(self.free):
            if self.fits(buffer[1], form) and buffer[0] not in avoid:
                self.free.remove(buffer)
                self.crossed |= buffer[1].source != form.source
                return buffer
        return None

    def one_shape(self, tail: str = "") -> str:
        """The test that inputs have one shape and, where it matters, one dtype."""
        names, inputs = self.plan.names, self.plan.spec.inputs
        shapes = [f"{names[name]}.shape" for name in inputs if name in self.plan.all]
        types = [f"{names[name]}.dtype" for name in inputs if name in self.plan.numeric]
        test = " == ".join(shapes) + tail
        return f"{test} and {' is '.join(types)}" if self.crossed and len(types) > 1 else test

    def new(self, prefix: str) -> str:
        """A fresh name."""
        self.count += 1
        return f"{prefix}{self.count - 1}"


class _Eager(_Values):
    def __init__(self, plan: Plan, uniform: bool = False, reuse: bool = True) -> None:
        super().__init__(plan, uniform)
        self.reuse = reuse
        self.reused = 0
        self.shapes: dict[frozenset[str], None] = {}
        self.floated = False
        self.lines: list[tuple[str, str]] = []
        for at, node in enumerate(plan.steps):
            self._step(at, node)

    def _step(self, at: int, node: Expr) -> None:
        args, form = self.args(node), self.plan.forms[node]
        if node.leaf == "where":
            self._allocate(node, self._where(node, args))
            return self.release(node.args, at)
        self.release(node.args, at)
        buffer = self.take(form) if self.reuse and form.shape else None
        if buffer:
            self._reuse(node, form, buffer)
            self.lines.append(("", written(node, args, buffer[0])))
        else:
            order = [] if self._ordered(node) else ['order="C"']
            self._allocate(node, f"np_{node.leaf}({', '.join(args + order)})")

    def _reuse(self, node: Expr, form: Form, buffer: tuple[str, Form]) -> None:
        self.buffers[node] = buffer
        self.reused += 1
        self.shapes[form.shape] = None
        self.floated |= buffer[1].kind != form.kind

    def _allocate(self, node: Expr, text: str) -> None:
        name = self.new("t")
        self.buffers[node] = name, self.plan.forms[node]
        self.lines.append((name, text))

    def _where(self, node: Expr, args: list[str]) -> str:
        if args[2] == "0" and node.args[1].leaf != "const":
            return f'np_asarray(masked({args[0]}, {args[1]}), order="C")'
        text = f"np_where({', '.join(args)})"
        return text if self._ordered(node) else f'np_asarray({text}, order="C")'

    def _ordered(self, node: Expr) -> bool:
        """Whether NumPy makes a C-contiguous result by itself.

        It does where no input is read, and, among equal shapes, where one argument is C-contiguous.
        """
        arrays = any(a in self.buffers and self.plan.forms[a].shape for a in node.args)
        return (self.uniform and arrays) or not _inputs(node)

    def guarded(self, test: str) -> list[str]:
        """The body under `test`; falls through where NumPy refuses to put floats in integers."""
        body = self.body()
        if self.floated:
            body = ["try:", *_indent(body), "except TypeError:", "    pass"]
        return [f"if {test}:", *_indent(body)]

    def not_scalar(self) -> str:
        """The test that no buffer that is used again is 0-d."""
        names = self.plan.names
        tests = [[f"{names[name]}.ndim" for name in sorted(shape)] for shape in self.shapes]
        if len(tests) == 1:
            return " or ".join(tests[0])
        return " and ".join(f"({' or '.join(t)})" if len(t) > 1 else t[0] for t in tests)

    def body(self) -> list[str]:
        """The lines, with the last step in the return statement where it is the only result."""
        lines = [f"{name} = {text}" if name else text for name, text in self.lines]
        if len(self.plan.outputs) == 1 and self.plan.is_plain(0):
            return [*lines[:-1], f"return {self.lines[-1][1]}"]
        return [*lines, f"return {', '.join(map(self._result, range(len(self.plan.outputs))))}"]

    def _result(self, place: int) -> str:
        node, inputs = self.plan.outputs[place], ", ".join(self.plan.inputs)
        if node.leaf == "const":
            number = literal(node)
            dtype = "np_bool" if node.boolean else f"np_result_type({_numeric(self.plan)}{number})"
            return f"copied(np_asarray({number}, {dtype}), {inputs})"
        text = self.text(node, node)
        if self.plan.is_plain(place):
            return text
        again = not node.args or node in self.plan.outputs[:place]
        return f"{'copied' if again else 'widen'}({text}, {inputs})"


class _Into(_Values):
    """Chooses a buffer for every step of `into`.

    An out may be the very memory of an input. So an out is written only from the last step that
    reads an input onward: that step itself may read and write it, element by element, later ones
    read no input. Until then values live in scratch. From there on an out also serves as a
    temporary, for values that die no later than the step that makes the out's own result.
    """

    def __init__(self, plan: Plan, uniform: bool = False) -> None:
        super().__init__(plan, uniform)
        self.lines: list[str] = []
        self.made = {node: at for at, node in enumerate(plan.steps)}
        self.places = {o: at for at, o in enumerate(plan.outputs) if plan.is_plain(at)}
        self.last_read = max((at for at, node in enumerate(plan.steps) if _inputs(node)), default=0)
        self.busy: set[str] = set()
        self._keep_inputs()
        for at, node in enumerate(plan.steps):
            self._step(at, node)
        self._finish()

    def cost(self) -> int:
        """Lines that are not ufunc calls."""
        return sum("scratch(" in line or "copyto(" in line for line in self.lines)

    def _keep_inputs(self) -> None:
        """Outputs that are inputs are copied first, as any out may overwrite them."""
        for node in dict.fromkeys(self.plan.outputs):
            if node.leaf == "var":
                form = self.plan.forms[node]
                name = self._scratch(form)
                self.lines.append(f"np_copyto({name}, {self.plan.names[node.value]})")
                self.buffers[node] = name, form

    def _step(self, at: int, node: Expr) -> None:
        args = self.args(node)
        if node.leaf == "where":
            return self._where(at, node, args)
        self._let_go(node.args, at)
        name = self._place(at, node)
        self.lines.append(written(node, args, name))

    def _let_go(self, arguments: Iterable[Expr], at: int) -> None:
        self.release(arguments, at)
        self.busy -= {name for name, _ in self.free}
        self.free = [buffer for buffer in self.free if not buffer[0].startswith("out")]

    def _where(self, at: int, node: Expr, args: list[str]) -> None:
        """Copy the branches one over the other, into the second one's buffer where it dies.

        Where the target may be the memory of the first branch, both go by complementary masks.
        """
        (condition, first, second), (c, a, b) = args, node.args
        self._let_go({b} - {a, c}, at)
        kept = frozenset(self.buffers[each][0] for each in (c, a) if each in self.buffers)
        name = self._place(at, node, kept)
        if second == "0" and a.leaf != "const" and self.plan.forms[a].shape == self.plan.forms[c].shape:
            self.lines.append(f"masked_into({name}, {condition}, {first})")
        elif name.startswith("out") and a.leaf == "var":
            self._masked(name, self.plan.forms[c], condition, first, second)
        else:
            self.lines += [f"np_copyto({name}, {second})"] * (name != second)
            self.lines.append(f"np_copyto({name}, {first}, where={condition})")
        self._let_go([c, a], at)

    def _masked(self, name: str, form: Form, condition: str, first: str, second: str) -> None:
        mask = self._scratch(form)
        self.lines.append(f"np_logical_not({condition}, {mask})")
        self.lines.append(f"np_copyto({name}, {first}, where={condition})")
        self.lines.append(f"np_copyto({name}, {second}, where={mask})")
        self.free.append((mask, form))

    def _place(self, at: int, node: Expr, avoid: frozenset[str] = frozenset()) -> str:
        form = self._merged(self.plan.forms[node])
        buffer = None
        if at >= self.last_read and not self._overwrites_condition(node):
            name = self._own(node, avoid) or self._borrowed(node, avoid | self.busy, at)
            buffer = (name, form) if name else None
        buffer = buffer or self.take(form, avoid) or (self._scratch(form), form)
        if buffer[0].startswith("out"):
            self.busy.add(buffer[0])
        self.buffers[node] = buffer
        return buffer[0]

    def _overwrites_condition(self, node: Expr) -> bool:
        return node.leaf == "where" and node.boolean and bool(_inputs(node))

    def _own(self, node: Expr, avoid: frozenset[str]) -> str:
        """The out that this value is to end in, if it may be written now."""
        name = f"out{self.places[node]}" if node in self.places else ""
        return "" if name in self.busy or name in avoid else name

    def _borrowed(self, node: Expr, avoid: frozenset[str], at: int) -> str:
        """An out that nothing needs before the value dies."""
        form, last = self.plan.forms[node], self.plan.last_use[node]
        for result, place in self.places.items():
            out = self.plan.forms[result]
            fits = self._holds(out, form)
            if fits and at < last <= self.made[result] and f"out{place}" not in avoid:
                self.crossed |= out.source != form.source
                return f"out{place}"
        return ""

    def _holds(self, out: Form, form: Form) -> bool:
        """Whether an out, whose dtype is given, may hold the value: a float one also EXACT ones."""
        exact = out.kind == form.kind and self.fits(out, form)
        floats = (form.kind, out.kind) == (EXACT, FLOATING)
        return exact or (floats and self.fits(out, replace(form, kind=FLOATING)))

    def _merged(self, form: Form) -> Form:
        """Where integers become floats on the way, all numbers are held as floats."""
        return replace(form, kind=FLOATING) if self.plan.mixed and form.kind == EXACT else form

    def _scratch(self, form: Form) -> str:
        name = self.new("s")
        self.lines.append(f"{name} = scratch({self._shape(form)}, {self._dtype(form)})")
        return name

    def _shape(self, form: Form) -> str:
        if form.shape == self.plan.all:
            return "out0.shape"
        names = [self.plan.names[name] for name in sorted(form.shape)]
        if not names:
            return "()"
        return f"{names[0]}.shape" if len(names) == 1 else f"np_broadcast({', '.join(names)}).shape"

    def _dtype(self, form: Form) -> str:
        """The dtype by name: an out's, where one has it, since looking it up costs time."""
        if form.kind == BOOLEAN:
            return "np_bool"
        for place, node in enumerate(self.plan.outputs):
            other = self.plan.forms[node]
            if other.kind == form.kind and other.source >= form.source:
                return f"out{place}.dtype"
        names = [self.plan.names[name] for name in sorted(form.source)]
        if len(names) == 1 and form.kind == EXACT:
            return f"{names[0]}.dtype"
        return f"np_result_type({', '.join([*names, '1.0' if form.kind == FLOATING else '1'])})"

    def _finish(self) -> None:
        for place, node in enumerate(self.plan.outputs):
            text = self.text(node, node)
            if text != f"out{place}":
                self.lines.append(f"np_copyto(out{place}, {text})")


def _inputs(node: Expr) -> list[Expr]:
    return [argument for argument in node.args if argument.leaf == "var"]


def _numeric(plan: Plan) -> str:
    return "".join(f"{plan.names[n]}, " for n in plan.spec.inputs if n in plan.numeric)


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
