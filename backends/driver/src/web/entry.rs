//! A plan as an entry of `model.json`.

use super::internal;
use drupe_format::plan::{BufferId, Expr, ExprId, Place, Port, State, StepOp};
use drupe_format::{DType, Lifetime, Plan, plan_arena};
use drupe_ir::Diagnostic;
use indexmap::IndexMap;
use serde_json::{Value, json};

/// A plan whose sizes are numbers, but for the rows of its states: memory is laid out for the most of them.
pub(super) struct Entry<'a> {
    plan: &'a Plan,
    /// The expressions' values with as many rows as there can be.
    most: Vec<i64>,
    /// Where the arena's buffers start.
    offsets: IndexMap<usize, u64>,
    arena: u64,
}

/// The memory of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateShape {
    pub dtype: DType,
    /// The most rows.
    pub rows: i64,
    /// The extents behind them.
    pub row: Vec<i64>,
    /// The number of rows before a run, as shapes call it.
    pub symbol: String,
}

impl StateShape {
    pub(super) fn row_bytes(&self) -> i64 {
        self.row.iter().product::<i64>() * self.dtype.size() as i64
    }

    pub(super) fn bytes(&self) -> i64 {
        self.rows * self.row_bytes()
    }

    pub(super) fn json(&self, name: &str) -> Value {
        let shape: Vec<i64> = [self.rows].into_iter().chain(self.row.iter().copied()).collect();
        json!({ "name": name, "dtype": self.dtype.name(), "shape": shape, "bytes": self.bytes() })
    }
}

/// What a buffer is a part of: which one of these, and where it starts there.
type Base = (&'static str, usize, i64);

impl Entry<'_> {
    pub(super) fn new(plan: &Plan) -> Result<Entry<'_>, Diagnostic> {
        let most = values(plan, |symbol| plan.symbols[symbol].max as i64)?;
        let least = values(plan, |symbol| plan.symbols[symbol].min as i64)?;
        let (mut numbers, mut lifetimes) = (Vec::new(), Vec::new());
        for (number, buffer) in plan.buffers.iter().enumerate() {
            let size = buffer.size.index();
            if least[size] > most[size] || least[size] < 0 {
                return Err(internal(format!("{:?} is smaller where there are more rows", buffer.name)));
            }
            if matches!(buffer.place, Place::Arena { .. }) {
                numbers.push(number);
                lifetimes.push(Lifetime { size: most[size] as u64, first: buffer.first_step, last: buffer.last_step });
            }
        }
        let arena = plan_arena(&lifetimes).map_err(|error| Diagnostic::new("memory", error))?;
        Ok(Entry { plan, most, offsets: numbers.into_iter().zip(arena.offsets).collect(), arena: arena.bytes })
    }

    /// Bytes of the arena.
    pub(super) fn arena(&self) -> u64 {
        self.arena
    }

    /// The states by the names of their inputs, in the plan's order.
    pub(super) fn states(&self) -> Result<IndexMap<String, StateShape>, Diagnostic> {
        self.plan.states.iter().map(|state| self.state(state)).collect()
    }

    fn state(&self, state: &State) -> Result<(String, StateShape), Diagnostic> {
        let (before, after) = self.ports_of(state);
        let (rows, row) = (after.shape[0], &after.shape[1..]);
        let Expr::Symbol(symbol) = self.plan.exprs[before.shape[0].index()] else {
            return Err(internal(format!("the rows of the state {:?} are no symbol", before.name)));
        };
        let row = row.iter().map(|extent| self.number(*extent)).collect::<Result<_, _>>()?;
        let symbol = self.plan.symbols[symbol.index()].name.clone();
        Ok((before.name.clone(), StateShape { dtype: after.dtype, rows: self.most(rows), row, symbol }))
    }

    fn ports_of(&self, state: &State) -> (&Port, &Port) {
        (&self.plan.inputs[state.input as usize], &self.plan.outputs[state.output as usize])
    }

    /// Rows that a run adds to the states.
    fn new_rows(&self) -> i64 {
        self.plan.states.first().map_or(0, |state| {
            let (before, after) = self.ports_of(state);
            self.most(after.shape[0]) - self.most(before.shape[0])
        })
    }

    /// The entry, by the numbers that its shaders have among those of all entries, and the bytes of the states.
    pub(super) fn json(&self, shaders: &[usize], state_bytes: &[i64]) -> Result<Value, Diagnostic> {
        Ok(json!({
            "name": self.plan.entry,
            "newRows": self.new_rows(),
            "inputs": self.plain_inputs().map(|port| self.port(port)).collect::<Result<Vec<_>, _>>()?,
            "outputs": self.outputs()?,
            "steps": self.steps(shaders, state_bytes)?,
        }))
    }

    fn most(&self, expr: ExprId) -> i64 {
        self.most[expr.index()]
    }

    /// The value of an expression that does not depend on the rows there are.
    fn number(&self, expr: ExprId) -> Result<i64, Diagnostic> {
        match self.plan.exprs[expr.index()] {
            Expr::Const(number) => Ok(number),
            Expr::Symbol(_) | Expr::Binary(..) => Err(internal("a size is open".into())),
        }
    }

    /// An expression: a number, the name of a symbol, or a list of an operation and its two operands.
    fn expression(&self, expr: ExprId) -> Value {
        match self.plan.exprs[expr.index()] {
            Expr::Const(number) => json!(number),
            Expr::Symbol(symbol) => json!(self.plan.symbols[symbol.index()].name),
            Expr::Binary(op, lhs, rhs) => json!([op.to_string(), self.expression(lhs), self.expression(rhs)]),
        }
    }

    /// The inputs that are no states.
    fn plain_inputs(&self) -> impl Iterator<Item = &Port> {
        let is_state = |index: usize| self.plan.states.iter().any(|state| state.input as usize == index);
        self.plan.inputs.iter().enumerate().filter(move |(index, _)| !is_state(*index)).map(|(_, port)| port)
    }

    /// The outputs that are no states.
    fn plain_outputs(&self) -> impl Iterator<Item = &Port> {
        let is_state = |index: usize| self.plan.states.iter().any(|state| state.output as usize == index);
        self.plan.outputs.iter().enumerate().filter(move |(index, _)| !is_state(*index)).map(|(_, port)| port)
    }

    fn port(&self, port: &Port) -> Result<Value, Diagnostic> {
        let open = |_| {
            Diagnostic::new("shape", format!("{:?} is of no known size", port.name))
                .help("only the rows of states may depend on what was run before")
        };
        let shape: Vec<i64> = port.shape.iter().map(|dim| self.number(*dim)).collect::<Result<_, _>>().map_err(open)?;
        let bytes = shape.iter().product::<i64>() * port.dtype.size() as i64;
        let room = self.number(self.plan.buffers[port.buffer.index()].size)?;
        if bytes != room {
            return Err(internal(format!("{:?} has {bytes} bytes, and its buffer {room}", port.name)));
        }
        Ok(json!({ "name": port.name, "dtype": port.dtype.name(), "shape": shape, "bytes": bytes }))
    }

    /// The outputs that are no states, each of which has a buffer of its own.
    fn outputs(&self) -> Result<Vec<Value>, Diagnostic> {
        for (index, port) in self.plain_outputs().enumerate() {
            let other = self.plain_outputs().take(index).find(|other| other.buffer == port.buffer);
            let what = match (self.plan.buffers[port.buffer.index()].place, other) {
                (Place::Output, None) => continue,
                (_, Some(other)) => format!("the same as the output {:?}", other.name),
                (Place::Input, None) => "an input as it is given".into(),
                (Place::Constant { .. }, None) => "a constant".into(),
                (Place::Arena { .. } | Place::View { .. }, None) => "no output of a shader".into(),
            };
            return Err(Diagnostic::new("unsupported", format!("the output {:?} is {what}", port.name))
                .help("take it out of the model: the page can have it without a GPU"));
        }
        self.plain_outputs().map(|port| self.port(port)).collect()
    }

    /// The shaders' steps. Of copies there are those that the page does: of whole inputs and outputs.
    fn steps(&self, shaders: &[usize], state_bytes: &[i64]) -> Result<Vec<Value>, Diagnostic> {
        let mut steps = Vec::new();
        for step in &self.plan.steps {
            let StepOp::Shader(shader) = step.op else {
                let (arg, len) = (&step.args[0], self.number(step.args[0].len)?);
                let buffer = &self.plan.buffers[arg.buffer.index()];
                let whole = self.number(arg.offset)? == 0 && len == self.number(buffer.size)?;
                let by_page = matches!(
                    (&step.op, buffer.place),
                    (StepOp::Upload, Place::Input) | (StepOp::Download, Place::Output)
                );
                if by_page && whole {
                    continue;
                }
                return Err(internal(format!("a copy of {:?} is left", buffer.name)));
            };
            if self.most(step.grid) == 0 {
                continue;
            }
            let mut args = Vec::new();
            let mut ranges: Vec<(&str, usize, i64, i64)> = Vec::new();
            for arg in &step.args {
                let (base, index, start) = self.base(arg.buffer)?;
                // A state is bound whole: its ranges are the same for any number of rows.
                let bytes = if base == "state" { state_bytes[index] } else { self.most(arg.len) };
                let offset = start + self.number(arg.offset)?;
                let meets = |(other, number, from, len): &(&str, usize, i64, i64)| {
                    (*other, *number) == (base, index) && *from < offset + bytes && offset < from + len
                };
                if ranges.iter().any(meets) {
                    return Err(internal(format!("two arguments of {} overlap", step.origin)));
                }
                ranges.push((base, index, offset, bytes));
                args.push(json!({ "base": base, "index": index, "offset": offset, "bytes": bytes }));
            }
            if let Some(dim) = step.dims.iter().find(|dim| i32::try_from(self.most(**dim)).is_err()) {
                return Err(internal(format!("{} is given {}, more than 32 bits", step.origin, self.most(*dim))));
            }
            let dims: Vec<Value> = step.dims.iter().map(|dim| self.expression(*dim)).collect();
            steps.push(json!({
                "shader": shaders[shader.index()], "grid": self.expression(step.grid), "args": args, "dims": dims,
                "origin": step.origin,
            }));
        }
        Ok(steps)
    }

    /// What `buffer` is a part of. The input and the output of a state are one.
    fn base(&self, buffer: BufferId) -> Result<Base, Diagnostic> {
        let of = |(before, after): (&Port, &Port)| before.buffer == buffer || after.buffer == buffer;
        if let Some(state) = self.plan.states.iter().position(|state| of(self.ports_of(state))) {
            return Ok(("state", state, 0));
        }
        let found =
            |position: Option<usize>| position.ok_or_else(|| internal("a buffer belongs to no input or output".into()));
        Ok(match self.plan.buffers[buffer.index()].place {
            Place::Input => ("input", found(self.plain_inputs().position(|port| port.buffer == buffer))?, 0),
            Place::Output => ("output", found(self.plain_outputs().position(|port| port.buffer == buffer))?, 0),
            Place::Constant { offset, .. } => ("constants", 0, offset as i64),
            Place::Arena { .. } => {
                let offset = self.offsets.get(&buffer.index());
                ("arena", 0, *offset.ok_or_else(|| internal("a buffer has no place".into()))? as i64)
            }
            Place::View { .. } => return Err(internal("a buffer is a view".into())),
        })
    }
}

/// The values of all expressions of `plan`, where `symbol` tells those of the symbols.
fn values(plan: &Plan, symbol: impl Fn(usize) -> i64) -> Result<Vec<i64>, Diagnostic> {
    let mut values: Vec<i64> = Vec::with_capacity(plan.exprs.len());
    for expr in &plan.exprs {
        values.push(match *expr {
            Expr::Const(number) => number,
            Expr::Symbol(id) => symbol(id.index()),
            Expr::Binary(op, lhs, rhs) => op
                .apply(values[lhs.index()], values[rhs.index()])
                .map_err(|fault| Diagnostic::new("shape", format!("a size has no value: {fault}")))?,
        });
    }
    Ok(values)
}
