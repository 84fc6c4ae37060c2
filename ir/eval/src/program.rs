//! One expression of a body as steps over columns of points.
//!
//! Index arithmetic that is linear in the loop variables never becomes a step: it is kept as an [`Affine`] and
//! folded into the loads. A [`Scalar::Select`] is evaluated on both sides. What must not be evaluated is only a
//! load out of bounds, and a load that is not known to be in bounds gets a *poison* column: where it is set the
//! element is meaningless. Poison follows the data; a select takes that of the side it takes; what is left of
//! it in the end is an error of the compiler.

use crate::affine::{ANY, Affine, Interval, clamp};
use crate::arith::result_kind;
use crate::column::Kind;
use drupe_ir::{BinaryOp, Body, DType, Diagnostic, Dim, Scalar, ScalarId, UnaryOp};
use std::collections::BTreeMap;

/// A column of a program.
pub type Register = usize;

/// One operation on columns.
#[derive(Clone, Debug)]
pub enum Step {
    /// Linear in the variables.
    Affine {
        to: Register,
        value: Affine,
    },
    /// Elements of a source.
    Load(Load),
    /// See [`crate::arith`]; `dtype` is the operands'.
    Unary {
        op: UnaryOp,
        dtype: DType,
        to: Register,
        a: Register,
    },
    Binary {
        op: BinaryOp,
        dtype: DType,
        to: Register,
        a: Register,
        b: Register,
    },
    Cast {
        from: DType,
        into: DType,
        to: Register,
        a: Register,
    },
    Select {
        to: Register,
        condition: Register,
        a: Register,
        b: Register,
    },
}

/// A read of a source.
#[derive(Clone, Debug)]
pub struct Load {
    pub to: Register,
    pub source: usize,
    /// The linear part of the position.
    pub offset: Affine,
    /// What is added to it: registers and their strides.
    pub dynamic: Vec<(Register, i64)>,
    /// Linear indices that must be below an extent, and not negative.
    pub affine_checks: Vec<(Affine, i64)>,
    /// Registers likewise.
    pub checks: Vec<(Register, i64)>,
    /// Set where a check fails.
    pub poison: Option<Register>,
    /// Set where the source's own poison is.
    pub source_poison: Option<Register>,
}

/// Steps that leave an element's value in `result`.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub steps: Vec<Step>,
    pub kinds: Vec<Kind>,
    /// Columns that never change: their float and integer values.
    pub constants: Vec<(Register, f64, i64)>,
    pub result: Register,
    pub poison: Option<Register>,
}

/// What an expression reads: operands, then folds.
pub struct SourceShape {
    /// The extents, outermost first.
    pub shape: Vec<i64>,
    /// Whether elements can be poisoned.
    pub poisoned: bool,
}

/// The variables an expression is compiled over, and what it reads.
pub struct Scope<'a> {
    pub body: &'a Body,
    /// Extents of the variables, in the order of the nest.
    pub extents: &'a [i64],
    /// The variable of each loop variable of the result, where it has one.
    pub index: &'a [Option<usize>],
    /// The variable of each reduction variable.
    pub reduce: &'a [usize],
    pub sources: &'a [SourceShape],
    /// The loop variables each fold's table has as axes.
    pub fold_axes: &'a [Vec<usize>],
    pub dim: &'a dyn Fn(&Dim) -> Result<i64, Diagnostic>,
}

#[derive(Clone, Debug)]
enum Form {
    Affine(Affine),
    Register { register: Register, poison: Option<Register>, interval: Interval },
}

struct Compiler<'a> {
    scope: &'a Scope<'a>,
    program: Program,
    forms: BTreeMap<ScalarId, Form>,
    materialised: BTreeMap<ScalarId, Register>,
}

pub(crate) fn internal(message: String) -> Diagnostic {
    Diagnostic::new("internal", message).help("this is a fault of drupe, please report it")
}

/// The steps for `root`. With `wide`, a float result is f64, and a product at the root is not rounded.
pub fn compile(scope: &Scope, root: ScalarId, wide: bool) -> Result<Program, Diagnostic> {
    let (program, forms, materialised) = (Program::default(), BTreeMap::new(), BTreeMap::new());
    let mut compiler = Compiler { scope, program, forms, materialised };
    let body = scope.body;
    let float = body.dtype(root).is_float();
    let wide_factors = match body.node(root) {
        Scalar::Binary(BinaryOp::Mul, a, b) if wide && float => Some((*a, *b)),
        _ => None,
    };
    for id in body.reachable(root) {
        if id != root || wide_factors.is_none() {
            let form = compiler.form(id)?;
            compiler.forms.insert(id, form);
        }
    }
    let (mut result, poison) = match wide_factors {
        Some((a, b)) => {
            let (wide_a, wide_b) = (compiler.widen(a), compiler.widen(b));
            let poison = compiler.either_poison(&[a, b]);
            let to = compiler.register(Kind::F64);
            let step = Step::Binary { op: BinaryOp::Mul, dtype: DType::F64, to, a: wide_a, b: wide_b };
            compiler.program.steps.push(step);
            (to, poison)
        }
        None => (compiler.materialise(root), compiler.poison(root)),
    };
    if wide && float && wide_factors.is_none() {
        result = compiler.widen(root);
    }
    Ok(Program { result, poison, ..compiler.program })
}

impl Compiler<'_> {
    fn register(&mut self, kind: Kind) -> Register {
        self.program.kinds.push(kind);
        self.program.kinds.len() - 1
    }

    fn constant(&mut self, kind: Kind, float: f64, int: i64) -> Register {
        let register = self.register(kind);
        self.program.constants.push((register, float, int));
        register
    }

    /// The column that holds `id`.
    fn materialise(&mut self, id: ScalarId) -> Register {
        let value = match &self.forms[&id] {
            Form::Register { register, .. } => return *register,
            Form::Affine(value) => value.clone(),
        };
        if let Some(register) = self.materialised.get(&id) {
            return *register;
        }
        let register = match value.as_constant() {
            Some(value) => self.constant(Kind::I64, 0.0, value),
            None => {
                let to = self.register(Kind::I64);
                self.program.steps.push(Step::Affine { to, value });
                to
            }
        };
        self.materialised.insert(id, register);
        register
    }

    fn widen(&mut self, id: ScalarId) -> Register {
        let (a, from) = (self.materialise(id), self.scope.body.dtype(id));
        let to = self.register(Kind::F64);
        self.program.steps.push(Step::Cast { from, into: DType::F64, to, a });
        to
    }

    fn poison(&self, id: ScalarId) -> Option<Register> {
        match &self.forms[&id] {
            Form::Affine(_) => None,
            Form::Register { poison, .. } => *poison,
        }
    }

    fn either_poison(&mut self, ids: &[ScalarId]) -> Option<Register> {
        let found: Vec<Option<Register>> = ids.iter().map(|id| self.poison(*id)).collect();
        self.either(&found)
    }

    fn either(&mut self, poisons: &[Option<Register>]) -> Option<Register> {
        let mut found: Vec<Register> = poisons.iter().flatten().copied().collect();
        found.dedup();
        let mut all = *found.first()?;
        for other in &found[1..] {
            let to = self.register(Kind::Bool);
            let step = Step::Binary { op: BinaryOp::Or, dtype: DType::Bool, to, a: all, b: *other };
            self.program.steps.push(step);
            all = to;
        }
        Some(all)
    }

    fn interval(&self, id: ScalarId) -> Interval {
        match &self.forms[&id] {
            Form::Affine(affine) => affine.interval(self.scope.extents),
            Form::Register { interval, .. } => *interval,
        }
    }

    fn form(&mut self, id: ScalarId) -> Result<Form, Diagnostic> {
        let (body, variables) = (self.scope.body, self.scope.extents.len());
        let dtype = body.dtype(id);
        let kind = Kind::of(dtype);
        let plain = |register| Form::Register { register, poison: None, interval: ANY };
        Ok(match body.node(id) {
            Scalar::Int(DType::I64, value) => Form::Affine(Affine::constant(*value, variables)),
            Scalar::Int(dtype, value) => plain(self.constant(kind, 0.0, crate::column::wrap(*dtype, *value))),
            Scalar::Float(dtype, value) => {
                let value = if kind == Kind::F32 {
                    f64::from(crate::column::round_f64(*dtype, value.get()))
                } else {
                    value.get()
                };
                plain(self.constant(kind, value, 0))
            }
            Scalar::Dim(dim) => Form::Affine(Affine::constant((self.scope.dim)(dim)?, variables)),
            Scalar::Index(variable) => match self.scope.index.get(*variable).copied().flatten() {
                Some(variable) => Form::Affine(Affine::variable(variable, variables)),
                None => return Err(internal(format!("loop variable i{variable} is not one of the space"))),
            },
            Scalar::Reduce(variable) => match self.scope.reduce.get(*variable) {
                Some(variable) => Form::Affine(Affine::variable(*variable, variables)),
                None => return Err(internal(format!("reduction variable r{variable} is not one of the fold"))),
            },
            Scalar::Fold(fold) => {
                let source = body.operand_dtypes().len() + fold;
                let axes = &self.scope.fold_axes[*fold];
                let mut index = Vec::new();
                for axis in axes {
                    match self.scope.index[*axis] {
                        Some(variable) => index.push(Form::Affine(Affine::variable(variable, variables))),
                        None => return Err(internal(format!("fold {fold} varies with i{axis}, its reader does not"))),
                    }
                }
                self.load(source, &index, kind)?
            }
            Scalar::Load { operand, index } => {
                let mut forms = Vec::new();
                for id in index {
                    forms.push(self.forms[id].clone());
                }
                self.load(*operand, &forms, kind)?
            }
            Scalar::Unary(op, a) => {
                let (a_register, poison) = (self.materialise(*a), self.poison(*a));
                let to = self.register(kind);
                self.program.steps.push(Step::Unary { op: *op, dtype: body.dtype(*a), to, a: a_register });
                let interval = if kind == Kind::I64 { unary_interval(*op, self.interval(*a)) } else { ANY };
                Form::Register { register: to, poison, interval }
            }
            Scalar::Binary(op, a, b) => {
                if let Some(affine) = self.affine_binary(*op, *a, *b) {
                    return Ok(Form::Affine(affine));
                }
                let dtype = body.dtype(*a);
                let (a_register, b_register) = (self.materialise(*a), self.materialise(*b));
                let poison = self.either_poison(&[*a, *b]);
                let to = self.register(result_kind(*op, Kind::of(dtype)));
                self.program.steps.push(Step::Binary { op: *op, dtype, to, a: a_register, b: b_register });
                let interval =
                    if dtype == DType::I64 { binary_interval(*op, self.interval(*a), self.interval(*b)) } else { ANY };
                Form::Register { register: to, poison, interval }
            }
            Scalar::Select(condition, a, b) => {
                let interval = {
                    let (a, b) = (self.interval(*a), self.interval(*b));
                    (a.0.min(b.0), a.1.max(b.1))
                };
                let (poison_a, poison_b) = (self.poison(*a), self.poison(*b));
                let (condition_register, a, b) =
                    (self.materialise(*condition), self.materialise(*a), self.materialise(*b));
                let to = self.register(kind);
                self.program.steps.push(Step::Select { to, condition: condition_register, a, b });
                let poison = self.select_poison(condition_register, poison_a, poison_b);
                let poison = self.either(&[poison, self.poison(*condition)]);
                Form::Register { register: to, poison, interval }
            }
            Scalar::Cast(into, a) => {
                let (a_register, poison, from) = (self.materialise(*a), self.poison(*a), body.dtype(*a));
                let to = self.register(kind);
                self.program.steps.push(Step::Cast { from, into: *into, to, a: a_register });
                let interval = if *into == DType::I64 && from.is_int() { self.interval(*a) } else { ANY };
                Form::Register { register: to, poison, interval }
            }
        })
    }

    fn select_poison(&mut self, condition: Register, a: Option<Register>, b: Option<Register>) -> Option<Register> {
        if a.is_none() && b.is_none() {
            return None;
        }
        let clean = self.constant(Kind::Bool, 0.0, 0);
        let to = self.register(Kind::Bool);
        self.program.steps.push(Step::Select { to, condition, a: a.unwrap_or(clean), b: b.unwrap_or(clean) });
        Some(to)
    }

    fn affine_binary(&self, op: BinaryOp, a: ScalarId, b: ScalarId) -> Option<Affine> {
        let (Form::Affine(a), Form::Affine(b)) = (&self.forms[&a], &self.forms[&b]) else { return None };
        match op {
            BinaryOp::Add => a.plus(b, 1),
            BinaryOp::Sub => a.plus(b, -1),
            BinaryOp::Mul => {
                let (of, factor) = match (a.as_constant(), b.as_constant()) {
                    (_, Some(factor)) => (a, factor),
                    (Some(factor), None) => (b, factor),
                    (None, None) => return None,
                };
                Affine::constant(0, of.coefs.len()).plus(of, factor)
            }
            BinaryOp::FloorDiv if b.as_constant() == Some(1) => Some(a.clone()),
            BinaryOp::FloorDiv | BinaryOp::Mod => {
                // `x / n` is 0 and `x % n` is x where 0 <= x < n.
                let (low, high) = a.interval(self.scope.extents);
                let small = low >= 0 && b.as_constant().is_some_and(|n| high < n);
                small.then(|| if op == BinaryOp::Mod { a.clone() } else { Affine::constant(0, a.coefs.len()) })
            }
            _ => None,
        }
    }

    fn load(&mut self, source: usize, index: &[Form], kind: Kind) -> Result<Form, Diagnostic> {
        let shape = &self.scope.sources[source];
        if index.len() != shape.shape.len() {
            let rank = shape.shape.len();
            return Err(internal(format!("{} indices for operand {source} of rank {rank}", index.len())));
        }
        let mut load = Load {
            to: self.register(kind),
            source,
            offset: Affine::constant(0, self.scope.extents.len()),
            dynamic: Vec::new(),
            affine_checks: Vec::new(),
            checks: Vec::new(),
            poison: None,
            source_poison: None,
        };
        let mut stride = 1i64;
        let mut poisons = Vec::new();
        for (form, extent) in index.iter().zip(&shape.shape).rev() {
            match form {
                Form::Affine(affine) => {
                    let (low, high) = affine.interval(self.scope.extents);
                    if low < 0 || high >= *extent {
                        load.affine_checks.push((affine.clone(), *extent));
                    }
                    load.offset = load
                        .offset
                        .plus(affine, stride)
                        .ok_or_else(|| internal("an index that does not fit in 64 bits".into()))?;
                }
                Form::Register { register, poison, interval } => {
                    if interval.0 < 0 || interval.1 >= *extent {
                        load.checks.push((*register, *extent));
                    }
                    load.dynamic.push((*register, stride));
                    poisons.push(*poison);
                }
            }
            stride = stride.saturating_mul((*extent).max(1));
        }
        if !load.affine_checks.is_empty() || !load.checks.is_empty() {
            load.poison = Some(self.register(Kind::Bool));
        }
        if shape.poisoned {
            load.source_poison = Some(self.register(Kind::Bool));
        }
        poisons.extend([load.poison, load.source_poison]);
        let register = load.to;
        self.program.steps.push(Step::Load(load));
        let poison = self.either(&poisons);
        Ok(Form::Register { register, poison, interval: ANY })
    }
}

fn unary_interval(op: UnaryOp, (low, high): Interval) -> Interval {
    match op {
        UnaryOp::Abs if low > i64::MIN => {
            let least = if low <= 0 && high >= 0 { 0 } else { low.abs().min(high.abs()) };
            (least, low.abs().max(high.abs()))
        }
        _ => ANY,
    }
}

fn binary_interval(op: BinaryOp, a: Interval, b: Interval) -> Interval {
    let wide = |interval: Interval| (i128::from(interval.0), i128::from(interval.1));
    let ((a_low, a_high), (b_low, b_high)) = (wide(a), wide(b));
    match op {
        BinaryOp::Add => clamp(a_low + b_low, a_high + b_high),
        BinaryOp::Sub => clamp(a_low - b_high, a_high - b_low),
        BinaryOp::Min => (a.0.min(b.0), a.1.min(b.1)),
        BinaryOp::Max => (a.0.max(b.0), a.1.max(b.1)),
        BinaryOp::Mod if b.0 > 0 => (0, b.1 - 1),
        BinaryOp::FloorDiv if a.0 >= 0 && b.0 > 0 => (a.0 / b.1, a.1 / b.0),
        BinaryOp::Mul => {
            let corners = [a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high];
            clamp(*corners.iter().min().expect("four"), *corners.iter().max().expect("four"))
        }
        _ => ANY,
    }
}

impl Program {
    /// Every linear expression, to reorder or simplify their variables.
    pub fn affines(&mut self) -> Vec<&mut Affine> {
        let mut found = Vec::new();
        for step in &mut self.steps {
            match step {
                Step::Affine { value, .. } => found.push(value),
                Step::Load(load) => {
                    found.push(&mut load.offset);
                    found.extend(load.affine_checks.iter_mut().map(|(affine, _)| affine));
                }
                Step::Unary { .. } | Step::Binary { .. } | Step::Cast { .. } | Step::Select { .. } => {}
            }
        }
        found
    }
}
