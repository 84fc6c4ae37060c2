//! Kernels as text, for people and snapshots.
//!
//! Values are numbered in the order of their definition, so that the text says nothing about how the kernel was
//! built. Types are written where a value is defined.

use crate::{Access, Block, Inst, Kernel, Loop, Place, TileOp, Type, Value};
use drupe_ir::DType;
use std::fmt::{self, Write};

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lanes {
            1 => write!(f, "{}", self.dtype),
            lanes => write!(f, "{}x{lanes}", self.dtype),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer { kernel: self, names: Names::new(self), depth: 1, out: f }.kernel()
    }
}

/// What values are called: numbers in the order of their definition.
#[derive(Clone)]
pub(crate) struct Names {
    numbers: Vec<Option<u32>>,
    next: u32,
}

impl Names {
    /// Nothing is defined yet.
    pub(crate) fn new(kernel: &Kernel) -> Names {
        Names { numbers: vec![None; kernel.types.len()], next: 0 }
    }

    /// How many values are defined.
    pub(crate) fn defined(&self) -> u32 {
        self.next
    }

    /// The name of `value`, which is defined now.
    pub(crate) fn define(&mut self, value: Value) -> String {
        // A broken kernel prints too: a value without a type, or defined twice, gets a number all the same.
        if let Some(number) = self.numbers.get_mut(value.0 as usize) {
            *number = Some(self.next);
        }
        self.next += 1;
        format!("%{}", self.next - 1)
    }

    /// The name of `value`.
    pub(crate) fn name(&self, value: Value) -> String {
        match self.numbers.get(value.0 as usize) {
            Some(Some(number)) => format!("%{number}"),
            Some(None) | None => format!("%undefined{}", value.0),
        }
    }
}

/// The first line of `inst` as it stands in the text of `kernel`, behind the definitions of the first `defined` values.
pub(crate) fn line(kernel: &Kernel, names: &Names, defined: u32, inst: &Inst) -> String {
    struct Line<'a>(&'a Kernel, Names, &'a Inst);
    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Printer { kernel: self.0, names: self.1.clone(), depth: 0, out: f }.inst(self.2)
        }
    }
    let text = Line(kernel, Names { next: defined, ..names.clone() }, inst).to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

struct Printer<'a, 'f> {
    kernel: &'a Kernel,
    names: Names,
    depth: usize,
    out: &'a mut fmt::Formatter<'f>,
}

impl Printer<'_, '_> {
    fn kernel(&mut self) -> fmt::Result {
        let kernel = self.kernel;
        write!(self.out, "kernel @{}(", kernel.name)?;
        for (index, buffer) in kernel.buffers.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let access = match buffer.access {
                Access::Read => "read",
                Access::Write => "write",
                Access::ReadWrite => "read_write",
            };
            write!(self.out, "{separator}{access} {}: {}", buffer.name, buffer.dtype)?;
        }
        let task = self.define(kernel.task);
        write!(self.out, ") dims {} task {task} ", kernel.dims)?;
        if kernel.workgroup != 1 {
            write!(self.out, "workgroup {} ", kernel.workgroup)?;
        }
        writeln!(self.out, "{{")?;
        for (kind, arrays) in [("local", &kernel.locals), ("shared", &kernel.shared)] {
            for (index, array) in arrays.iter().enumerate() {
                writeln!(self.out, "  {kind}{index}: {}[{}]", array.dtype, array.length)?;
            }
        }
        for (index, tile) in kernel.tiles.iter().enumerate() {
            writeln!(self.out, "  tile{index}: {}", tile.side)?;
        }
        self.block(&kernel.body, "yield")?;
        self.out.write_str("}")
    }

    /// The instructions of a block, and a line for what it yields if it yields something.
    fn block(&mut self, block: &Block, yields: &str) -> fmt::Result {
        for inst in &block.insts {
            self.inst(inst)?;
        }
        if !block.yields.is_empty() {
            let values = self.names(&block.yields);
            self.line(&format!("{yields} {values}"))?;
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> fmt::Result {
        for _ in 0..self.depth {
            self.out.write_str("  ")?;
        }
        writeln!(self.out, "{text}")
    }

    fn define(&mut self, value: Value) -> String {
        self.names.define(value)
    }

    fn name(&self, value: Value) -> String {
        self.names.name(value)
    }

    fn names(&self, values: &[Value]) -> String {
        values.iter().map(|value| self.name(*value)).collect::<Vec<_>>().join(", ")
    }

    fn ty(&self, value: Value) -> String {
        self.kernel.types.get(value.0 as usize).map_or("untyped".into(), Type::to_string)
    }

    /// `%0: f32, %1: i64`: newly defined.
    fn definitions(&mut self, values: &[Value]) -> String {
        let defined: Vec<String> = (values.iter()).map(|v| format!("{}: {}", self.define(*v), self.ty(*v))).collect();
        defined.join(", ")
    }

    fn place(&self, place: Place, offset: Value) -> String {
        let offset = self.name(offset);
        match place {
            Place::Buffer(number) => match self.kernel.buffers.get(number) {
                Some(buffer) => format!("{}[{offset}]", buffer.name),
                None => format!("buffer{number}[{offset}]"),
            },
            Place::Local(number) => format!("local{number}[{offset}]"),
            Place::Shared(number) => format!("shared{number}[{offset}]"),
        }
    }

    fn inst(&mut self, inst: &Inst) -> fmt::Result {
        let name = |value: &Value| self.name(*value);
        let (out, text) = match inst {
            Inst::Float { out, value } => (out, format!("{value:?}")),
            Inst::Int { out, value } if self.ty(*out).starts_with(DType::Bool.name()) => {
                (out, (*value != 0).to_string())
            }
            Inst::Int { out, value } => (out, value.to_string()),
            Inst::Iota { out } => (out, "iota".into()),
            Inst::Dim { out, index } => (out, format!("dim {index}")),
            Inst::Invocation { out } => (out, "invocation".into()),
            Inst::Subgroup { out } => (out, "subgroup".into()),
            Inst::Subgroups { out } => (out, "subgroups".into()),
            Inst::Unary { out, op, a } => (out, format!("{} {}", op.name(), name(a))),
            Inst::Binary { out, op, a, b } => (out, format!("{} {}, {}", op.name(), name(a), name(b))),
            Inst::Fma { out, a, b, c } => (out, format!("fma {}, {}, {}", name(a), name(b), name(c))),
            Inst::Dot { out, a, b, c } => (out, format!("dot {}, {}, {}", name(a), name(b), name(c))),
            Inst::DotPairs { out, a, b, c } => (out, format!("dot_pairs {}, {}, {}", name(a), name(b), name(c))),
            Inst::Select { out, condition, a, b } => {
                (out, format!("select {}, {}, {}", name(condition), name(a), name(b)))
            }
            Inst::Cast { out, a } => (out, format!("cast {}", name(a))),
            Inst::Bitcast { out, a } => (out, format!("bitcast {}", name(a))),
            Inst::Splat { out, a } => (out, format!("splat {}", name(a))),
            Inst::Extract { out, a, lane } => (out, format!("extract {}, {lane}", name(a))),
            Inst::Reduce { out, op, a } => (out, format!("reduce_{} {}", op.name(), name(a))),
            Inst::Shuffle { out, a, b, lanes } => (out, format!("shuffle {}, {} {lanes:?}", name(a), name(b))),
            Inst::Load { out, place, offset } => (out, format!("load {}", self.place(*place, *offset))),
            Inst::Store { place, offset, value } => {
                let text = format!("store {}, {}", self.place(*place, *offset), name(value));
                return self.line(&text);
            }
            Inst::Prefetch { place, offset } => {
                let text = format!("prefetch {}", self.place(*place, *offset));
                return self.line(&text);
            }
            Inst::Barrier => return self.line("barrier"),
            Inst::Across { out, op, a } => (out, format!("across_{} {}", op.name(), name(a))),
            Inst::Tile { tile, op } => {
                let text = self.tile_op(*tile, *op);
                return self.line(&text);
            }
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                return self.branch(results, *condition, then, otherwise);
            }
        };
        let out = self.definitions(&[*out]);
        self.line(&format!("{out} = {text}"))
    }

    fn tile_op(&self, tile: usize, op: TileOp) -> String {
        let squares = op.squares().into_iter();
        let squares =
            squares.map(|square| format!(", {} stride {}", self.place(square.place, square.offset), square.stride));
        format!("{} tile{tile}{}", op.name(), squares.collect::<String>())
    }

    fn for_loop(&mut self, inner: &Loop) -> fmt::Result {
        let (low, high, init) = (self.name(inner.low), self.name(inner.high), self.names(&inner.init));
        let index = self.define(inner.index);
        let mut header = format!("for {index} = {low} to {high} step {}", inner.step);
        if !inner.carried.is_empty() {
            let carried = self.definitions(&inner.carried);
            write!(header, " carrying ({carried}) = ({init})")?;
        }
        self.line(&format!("{header} {{"))?;
        self.nested(&inner.body)?;
        self.close("}", &inner.results)
    }

    fn branch(&mut self, results: &[Value], condition: Value, then: &Block, otherwise: &Block) -> fmt::Result {
        self.line(&format!("if {} {{", self.name(condition)))?;
        self.nested(then)?;
        self.line("} else {")?;
        self.nested(otherwise)?;
        self.close("}", results)
    }

    fn nested(&mut self, block: &Block) -> fmt::Result {
        self.depth += 1;
        self.block(block, "yield")?;
        self.depth -= 1;
        Ok(())
    }

    fn close(&mut self, brace: &str, results: &[Value]) -> fmt::Result {
        if results.is_empty() {
            return self.line(brace);
        }
        let results = self.definitions(results);
        self.line(&format!("{brace} -> {results}"))
    }
}
