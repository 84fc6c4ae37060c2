//! Kernels as text, read: what [`crate::print`] writes reads back as the same text. Values may have any name.

use crate::{Access, Block, BufferParam, Inst, Kernel, Local, Loop, Place, Square, Tile, TileOp, Type, Value};
use drupe_ir::{BinaryOp, DType, Diagnostic, FoldOp, Scanner, UnaryOp};
use std::collections::BTreeMap;

/// The kernel that `text` is; errors name `file`, line and column. It is as the text says, and may not verify.
pub fn parse(text: &str, file: &str) -> Result<Kernel, Diagnostic> {
    let kernel = Kernel {
        name: String::new(),
        buffers: Vec::new(),
        dims: 0,
        locals: Vec::new(),
        shared: Vec::new(),
        tiles: Vec::new(),
        workgroup: 1,
        task: Value(0),
        body: Block::default(),
        types: Vec::new(),
    };
    let mut parser = Parser { scan: Scanner::new(text, file), kernel, values: BTreeMap::new() };
    parser.kernel()?;
    match parser.scan.rest().is_empty() {
        true => Ok(parser.kernel),
        false => Err(parser.scan.expected("the end")),
    }
}

struct Parser<'a> {
    scan: Scanner<'a>,
    kernel: Kernel,
    values: BTreeMap<String, Value>,
}

type Parsed<T = ()> = Result<T, Diagnostic>;

impl Parser<'_> {
    /// `kernel @name(read x: f32, write y: f32) dims 1 task %0 { ... }`.
    fn kernel(&mut self) -> Parsed {
        self.scan.expect("kernel")?;
        self.scan.expect("@")?;
        self.kernel.name = self.scan.name("the kernel's name")?;
        self.scan.expect("(")?;
        self.items(")", Self::buffer)?;
        self.scan.expect("dims")?;
        self.kernel.dims = self.number()?;
        self.scan.expect("task")?;
        self.kernel.task = self.define(Type::scalar(DType::I64))?;
        if self.scan.eat("workgroup") {
            let start = self.scan.position();
            self.kernel.workgroup = self.number()?;
            if self.kernel.workgroup == 0 {
                return Err(self.scan.error_at(start, "a workgroup has one invocation at least"));
            }
        }
        self.scan.expect("{")?;
        while self.scan.rest().starts_with("local") {
            let local = self.array("local", self.kernel.locals.len())?;
            self.kernel.locals.push(local);
        }
        while self.scan.rest().starts_with("shared") {
            let shared = self.array("shared", self.kernel.shared.len())?;
            self.kernel.shared.push(shared);
        }
        while self.scan.rest().starts_with("tile") {
            self.scan.expect(&format!("tile{}", self.kernel.tiles.len()))?;
            self.scan.expect(":")?;
            let side = self.number()?;
            self.kernel.tiles.push(Tile { side });
        }
        self.kernel.body = self.block()?;
        Ok(())
    }

    /// Items between commas, up to `close`, which is taken.
    fn items<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.scan.eat(close) {
            if !items.is_empty() {
                self.scan.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn buffer(&mut self) -> Parsed {
        let start = self.scan.position();
        let access = match self.scan.identifier() {
            Some("read") => Access::Read,
            Some("write") => Access::Write,
            Some("read_write") => Access::ReadWrite,
            _ => return Err(self.scan.error_at(start, "`read`, `write` or `read_write` expected")),
        };
        let name = self.identifier("a buffer's name")?.to_owned();
        if self.kernel.buffers.iter().any(|buffer| buffer.name == name) {
            return Err(self.scan.error_at(start, format!("a second buffer is called {name}")));
        }
        self.scan.expect(":")?;
        let dtype = self.dtype()?;
        self.kernel.buffers.push(BufferParam { name, dtype, access });
        Ok(())
    }

    /// `local0: f32[24]`: array `number` of its kind.
    fn array(&mut self, kind: &str, number: usize) -> Parsed<Local> {
        self.scan.expect(&format!("{kind}{number}"))?;
        self.scan.expect(":")?;
        let dtype = self.dtype()?;
        self.scan.expect("[")?;
        let length = self.number()?;
        self.scan.expect("]")?;
        Ok(Local { dtype, length })
    }

    fn identifier(&mut self, what: &str) -> Parsed<&str> {
        let start = self.scan.position();
        match self.scan.identifier() {
            Some(name) => Ok(name),
            None => Err(self.scan.error_at(start, format!("{what} expected"))),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Parsed<T> {
        let start = self.scan.position();
        let sign = if self.scan.eat("-") { "-" } else { "" };
        let text = self.scan.number().unwrap_or_default();
        let number = format!("{sign}{text}").parse();
        number.map_err(|_| self.scan.error_at(start, "a whole number expected, not too large"))
    }

    fn dtype(&mut self) -> Parsed<DType> {
        let start = self.scan.position();
        let dtype = self.scan.identifier().and_then(DType::from_name);
        dtype.ok_or_else(|| self.scan.error_at(start, "an element type expected"))
    }

    /// `f32`, or `f32x8`.
    fn ty(&mut self) -> Parsed<Type> {
        let start = self.scan.position();
        let name = self.identifier("a type")?;
        let vector = || {
            let (dtype, lanes) = name.rsplit_once('x')?;
            Some(Type::vector(DType::from_name(dtype)?, lanes.parse().ok()?))
        };
        let ty = DType::from_name(name).map(Type::scalar).or_else(vector);
        let name = name.to_owned();
        ty.ok_or_else(|| self.scan.error_at(start, format!("`{name}` is no type: `f32`, or `f32x8` for a vector")))
    }

    /// `%name`, newly defined with type `ty`.
    fn define(&mut self, ty: Type) -> Parsed<Value> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        let value = self.new_value(ty);
        self.bind(start, name, value)
    }

    fn new_value(&mut self, ty: Type) -> Value {
        self.kernel.types.push(ty);
        Value(self.kernel.types.len() as u32 - 1)
    }

    /// From here on `%name` is `value`.
    fn bind(&mut self, start: usize, name: String, value: Value) -> Parsed<Value> {
        match self.values.insert(name.clone(), value) {
            Some(_) => Err(self.scan.error_at(start, format!("the value %{name} is defined twice"))),
            None => Ok(value),
        }
    }

    /// `%name: f32x8`, newly defined.
    fn typed(&mut self) -> Parsed<Value> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        self.scan.expect(":")?;
        let ty = self.ty()?;
        let value = self.new_value(ty);
        self.bind(start, name, value)
    }

    fn value(&mut self) -> Parsed<Value> {
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        let known = self.values.get(&name).copied();
        known.ok_or_else(|| self.scan.error_at(start, format!("there is no value %{name} before this")))
    }

    /// `, %name`.
    fn next_value(&mut self) -> Parsed<Value> {
        self.scan.expect(",")?;
        self.value()
    }

    /// `-> %1: f32, %2: i64`, where it is next.
    fn results(&mut self) -> Parsed<Vec<Value>> {
        let mut results = Vec::new();
        if self.scan.eat("->") {
            results.push(self.typed()?);
            while self.scan.eat(",") {
                results.push(self.typed()?);
            }
        }
        Ok(results)
    }

    /// What stands before the next `}`, which is taken.
    fn block(&mut self) -> Parsed<Block> {
        let mut block = Block::default();
        while !self.scan.eat("}") {
            if self.scan.eat("yield") {
                block.yields.push(self.value()?);
                while self.scan.eat(",") {
                    block.yields.push(self.value()?);
                }
                self.scan.expect("}")?;
                break;
            }
            block.insts.push(self.inst()?);
        }
        Ok(block)
    }

    fn inst(&mut self) -> Parsed<Inst> {
        if self.scan.eat("store") {
            let (place, offset) = self.place()?;
            return Ok(Inst::Store { place, offset, value: self.next_value()? });
        }
        if self.scan.eat("prefetch") {
            let (place, offset) = self.place()?;
            return Ok(Inst::Prefetch { place, offset });
        }
        if self.scan.eat("barrier") {
            return Ok(Inst::Barrier);
        }
        if self.scan.eat("clear") {
            return Ok(Inst::Tile { tile: self.tile()?, op: TileOp::Clear });
        }
        if self.scan.eat("multiply") {
            let tile = self.tile()?;
            let op = TileOp::Multiply { left: self.next_square()?, right: self.next_square()? };
            return Ok(Inst::Tile { tile, op });
        }
        if self.scan.eat("values") {
            let tile = self.tile()?;
            return Ok(Inst::Tile { tile, op: TileOp::Values { to: self.next_square()? } });
        }
        if self.scan.eat("for") {
            return self.nested(Self::for_loop);
        }
        if self.scan.eat("if") {
            return self.nested(Self::branch);
        }
        if !self.scan.rest().starts_with('%') {
            return Err(self.scan.expected("an instruction, `yield` or `}`"));
        }
        let start = self.scan.position();
        self.scan.expect("%")?;
        let name = self.scan.name("a value's name")?;
        self.scan.expect(":")?;
        let ty = self.ty()?;
        self.scan.expect("=")?;
        let out = self.new_value(ty);
        let inst = self.definition(out, ty)?;
        self.bind(start, name, out)?;
        Ok(inst)
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Parsed<Inst>) -> Parsed<Inst> {
        const MOST: usize = 64;
        if self.scan.depth == MOST {
            return Err(self.scan.expected("no deeper nesting"));
        }
        self.scan.depth += 1;
        let inst = parse(self);
        self.scan.depth -= 1;
        inst
    }

    /// `%5 = %2 to %1 step 4 carrying (%6: f32x4) = (%4) { ... } -> %10: f32x4`.
    fn for_loop(&mut self) -> Parsed<Inst> {
        let index = self.define(Type::scalar(DType::I64))?;
        self.scan.expect("=")?;
        let low = self.value()?;
        self.scan.expect("to")?;
        let high = self.value()?;
        self.scan.expect("step")?;
        let step = self.number()?;
        let (mut carried, mut init) = (Vec::new(), Vec::new());
        if self.scan.eat("carrying") {
            self.scan.expect("(")?;
            carried = self.items(")", Self::typed)?;
            self.scan.expect("=")?;
            self.scan.expect("(")?;
            init = self.items(")", Self::value)?;
        }
        self.scan.expect("{")?;
        let body = self.block()?;
        let results = self.results()?;
        Ok(Inst::For(Box::new(Loop { index, low, high, step, init, carried, results, body })))
    }

    /// `%13 { ... } else { ... } -> %15: f32`.
    fn branch(&mut self) -> Parsed<Inst> {
        let condition = self.value()?;
        self.scan.expect("{")?;
        let then = self.block()?;
        self.scan.expect("else")?;
        self.scan.expect("{")?;
        let otherwise = self.block()?;
        Ok(Inst::If { results: self.results()?, condition, then, otherwise })
    }

    /// `x[%7]`.
    fn place(&mut self) -> Parsed<(Place, Value)> {
        let start = self.scan.position();
        let name = self.identifier("a buffer or local array")?.to_owned();
        let buffer = self.kernel.buffers.iter().position(|buffer| buffer.name == name).map(Place::Buffer);
        let array = |kind: &str, count: usize| {
            name.strip_prefix(kind).and_then(|number| number.parse().ok()).filter(|number| *number < count)
        };
        let local = array("local", self.kernel.locals.len()).map(Place::Local);
        let place = buffer.or(local).or(array("shared", self.kernel.shared.len()).map(Place::Shared));
        let place = place.ok_or_else(|| self.scan.error_at(start, format!("there is no buffer or array `{name}`")))?;
        self.scan.expect("[")?;
        let offset = self.value()?;
        self.scan.expect("]")?;
        Ok((place, offset))
    }

    /// `tile0`.
    fn tile(&mut self) -> Parsed<usize> {
        let start = self.scan.position();
        let name = self.identifier("a tile")?;
        let number = name.strip_prefix("tile").and_then(|number| number.parse().ok());
        let number = number.filter(|number| *number < self.kernel.tiles.len());
        number.ok_or_else(|| self.scan.error_at(start, "there is no such tile"))
    }

    /// `, x[%7] stride 24`.
    fn next_square(&mut self) -> Parsed<Square> {
        self.scan.expect(",")?;
        let (place, offset) = self.place()?;
        self.scan.expect("stride")?;
        Ok(Square { place, offset, stride: self.number()? })
    }

    /// What stands behind `%8: f32x4 =`: it defines `out`.
    fn definition(&mut self, out: Value, ty: Type) -> Parsed<Inst> {
        let start = self.scan.position();
        if !self.scan.rest().starts_with(|c: char| c.is_ascii_alphabetic()) {
            return self.constant(out, ty);
        }
        let name = self.identifier("an operation")?.to_owned();
        let fold = |prefix: &str, name: &str| {
            let folds = [FoldOp::Sum, FoldOp::Prod, FoldOp::Max, FoldOp::Min];
            folds.into_iter().find(|op| Some(op.name()) == name.strip_prefix(prefix))
        };
        let (unary, binary) = (UnaryOp::ALL.iter(), BinaryOp::ALL.iter());
        Ok(match name.as_str() {
            "true" => Inst::Int { out, value: 1 },
            "false" => Inst::Int { out, value: 0 },
            "inf" => Inst::Float { out, value: f64::INFINITY },
            "NaN" => Inst::Float { out, value: f64::NAN },
            "iota" => Inst::Iota { out },
            "invocation" => Inst::Invocation { out },
            "subgroup" => Inst::Subgroup { out },
            "subgroups" => Inst::Subgroups { out },
            "dim" => Inst::Dim { out, index: self.number()? },
            "fma" => Inst::Fma { out, a: self.value()?, b: self.next_value()?, c: self.next_value()? },
            "dot" => Inst::Dot { out, a: self.value()?, b: self.next_value()?, c: self.next_value()? },
            "dot_pairs" => Inst::DotPairs { out, a: self.value()?, b: self.next_value()?, c: self.next_value()? },
            "select" => Inst::Select { out, condition: self.value()?, a: self.next_value()?, b: self.next_value()? },
            "cast" => Inst::Cast { out, a: self.value()? },
            "bitcast" => Inst::Bitcast { out, a: self.value()? },
            "splat" => Inst::Splat { out, a: self.value()? },
            "extract" => {
                let a = self.value()?;
                self.scan.expect(",")?;
                Inst::Extract { out, a, lane: self.number()? }
            }
            "shuffle" => {
                let (a, b) = (self.value()?, self.next_value()?);
                self.scan.expect("[")?;
                Inst::Shuffle { out, a, b, lanes: self.items("]", Self::number)? }
            }
            "load" => {
                let (place, offset) = self.place()?;
                Inst::Load { out, place, offset }
            }
            name => {
                if let Some(op) = fold("reduce_", name) {
                    Inst::Reduce { out, op, a: self.value()? }
                } else if let Some(op) = fold("across_", name) {
                    Inst::Across { out, op, a: self.value()? }
                } else if let Some(op) = unary.copied().find(|op| op.name() == name) {
                    Inst::Unary { out, op, a: self.value()? }
                } else if let Some(op) = binary.copied().find(|op| op.name() == name) {
                    Inst::Binary { out, op, a: self.value()?, b: self.next_value()? }
                } else {
                    return Err(self.scan.error_at(start, format!("there is no instruction `{name}`")));
                }
            }
        })
    }

    fn constant(&mut self, out: Value, ty: Type) -> Parsed<Inst> {
        if !ty.dtype.is_float() {
            return Ok(Inst::Int { out, value: self.number()? });
        }
        let start = self.scan.position();
        let sign = if self.scan.eat("-") { -1.0 } else { 1.0 };
        let value = if self.scan.eat("inf") {
            f64::INFINITY
        } else {
            let number = self.scan.number().and_then(|text| text.parse::<f64>().ok());
            number.ok_or_else(|| self.scan.error_at(start, "an instruction or a constant expected"))?
        };
        Ok(Inst::Float { out, value: sign * value })
    }
}
