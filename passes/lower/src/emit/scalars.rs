//! Scalar expressions at a point of a tile, and the addresses they read.

use super::{Emitter, Point};
use crate::affine::{Affine, Var};
use crate::attention::lane_step;
use crate::nest::{Address, PANEL};
use drupe_ir::{BinaryOp, DType, Dim, Scalar, ScalarId};
use drupe_kernel::{Place, Type, Value};

impl Emitter<'_> {
    /// The value of `id` at `point`: a scalar where it is the same in all lanes.
    pub(super) fn scalar(&mut self, id: ScalarId, point: &Point) -> Value {
        let [row, column, reduce] = self.depends[id.index()];
        let vector = match self.vector {
            Some(Var::Index(_)) => column,
            Some(Var::Reduce(_)) => reduce,
            None => false,
        };
        let key = Point {
            row: if row { point.row } else { 0 },
            column: if column { point.column } else { 0 },
            lanes: if vector { point.lanes } else { 0 },
            reduce: if reduce { point.reduce.clone() } else { Vec::new() },
        };
        let key = (id, key);
        if vector && self.lane_step(id) == Some(0) {
            return self.at_first_lane(|this| this.scalar(id, point));
        }
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.scalars.get(&key)) {
            return *value;
        }
        let value = self.compute(id, point);
        self.frame().scalars.insert(key, value);
        value
    }

    /// How far the position `id` moves from lane to lane of a whole vector, where that is not known otherwise.
    fn lane_step(&self, id: ScalarId) -> Option<i64> {
        let computed = self.whole_vectors && matches!(self.nest.body.node(id), Scalar::Binary(..));
        let var = self.vector.filter(|_| computed && self.nest.body.dtype(id) == DType::I64)?;
        lane_step(&self.nest.body, id, var).map(|(step, _)| step)
    }

    /// What `compute` gives for the first lane alone.
    fn at_first_lane<T>(&mut self, compute: impl FnOnce(&mut Self) -> T) -> T {
        let vector = self.vector.take();
        let value = compute(self);
        self.vector = vector;
        value
    }

    pub(super) fn compute(&mut self, id: ScalarId, point: &Point) -> Value {
        let nest = self.nest;
        match nest.body.node(id) {
            Scalar::Float(dtype, value) => self.b.number(Type::scalar(*dtype), value.get()),
            Scalar::Int(dtype, value) => self.b.integer(Type::scalar(*dtype), *value),
            Scalar::Dim(dim) => self.dim(dim),
            Scalar::Index(variable) => self.variable(Var::Index(*variable), point),
            Scalar::Reduce(variable) => self.variable(Var::Reduce(*variable), point),
            Scalar::Fold(fold) => {
                let row = if self.is_tile_fold(*fold) || self.depends[id.index()][0] { point.row } else { 0 };
                let column = if self.is_tile_fold(*fold) { point.column } else { 0 };
                self.folds[&(*fold, row, column)]
            }
            Scalar::Load { .. } => self.load(id, point),
            Scalar::Unary(op, a) => {
                let a = self.scalar(*a, point);
                self.b.unary(*op, a)
            }
            Scalar::Binary(op, a, b) => {
                let divisor = *b;
                let (a, b) = (self.scalar(*a, point), self.scalar(*b, point));
                self.total_binary(*op, a, b, divisor)
            }
            Scalar::Select(condition, a, b) => {
                let condition = self.scalar(*condition, point);
                if !nest.has_load(*a) && !nest.has_load(*b) || self.b.ty(condition).lanes > 1 {
                    let (a, b) = (self.scalar(*a, point), self.scalar(*b, point));
                    return self.b.select(condition, a, b);
                }
                let lanes = point.lanes;
                let uniform = [a, b].iter().all(|id| !self.varies(**id));
                let branch = |this: &mut Self, id: ScalarId| {
                    let value = this.scalar(id, point);
                    vec![if uniform { value } else { this.b.splat(value, lanes) }]
                };
                self.choose(condition, |this| branch(this, *a), |this| branch(this, *b))[0]
            }
            Scalar::Cast(dtype, a) => {
                let a = self.scalar(*a, point);
                self.b.cast(a, *dtype)
            }
        }
    }

    /// Whether the value differs between lanes.
    pub(super) fn varies(&self, id: ScalarId) -> bool {
        self.vector.is_some_and(|var| self.nest.dependencies(id).contains(&var))
    }

    pub(super) fn distance(&self, var: Var, point: &Point) -> i64 {
        match var {
            Var::Index(variable) if Some(variable) == self.schedule.row => point.row,
            Var::Index(variable) if Some(variable) == self.schedule.column => point.column,
            Var::Index(_) => 0,
            Var::Reduce(variable) => point.reduce.get(variable).copied().unwrap_or(0),
        }
    }

    pub(super) fn variable(&mut self, var: Var, point: &Point) -> Value {
        let distance = self.b.int(self.distance(var, point));
        let value = self.binary(BinaryOp::Add, self.bases[&var], distance);
        if self.vector != Some(var) || point.lanes == 1 {
            return value;
        }
        let lanes = self.b.iota(Type::vector(DType::I64, point.lanes));
        self.binary(BinaryOp::Add, value, lanes)
    }

    /// The part of an address that the loop variables make; `computed` are its other terms.
    pub(super) fn base(&mut self, affine: &Affine, computed: Vec<Value>) -> Value {
        let key = (Affine { constant: None, ..affine.clone() }, computed);
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.bases.get(&key)) {
            return *value;
        }
        let mut sum = self.b.int(0);
        for (var, coefficient) in &key.0.terms {
            let coefficient = self.dim(coefficient);
            let term = self.binary(BinaryOp::Mul, self.bases[var], coefficient);
            sum = self.binary(BinaryOp::Add, sum, term);
        }
        for term in &key.1 {
            sum = self.binary(BinaryOp::Add, sum, *term);
        }
        self.frame().bases.insert(key, sum);
        sum
    }

    /// How far the address at `point` is from the base.
    pub(super) fn offset(&self, affine: &Affine, point: &Point) -> Dim {
        affine.terms.iter().fold(affine.start(), |sum, (var, coefficient)| {
            &sum + &(coefficient * &Dim::from(self.distance(*var, point)))
        })
    }

    pub(super) fn moved(&mut self, base: Value, offset: &Dim) -> Value {
        let offset = self.dim(offset);
        self.binary(BinaryOp::Add, base, offset)
    }

    /// Where column `first` starts: the elements of the whole panels before it, and the columns of its own.
    pub(super) fn panel_start(&mut self, first: Value, width: Value, size: Value) -> [Value; 2] {
        if let Some(found) = self.frames.iter().rev().find_map(|frame| frame.panels.get(&(first, size))) {
            return *found;
        }
        let whole = self.binary(BinaryOp::FloorDiv, first, width);
        let before = self.binary(BinaryOp::Mul, whole, size);
        let rest = self.binary(BinaryOp::Mod, first, width);
        self.frame().panels.insert((first, size), [before, rest]);
        [before, rest]
    }

    /// Lanes that lie apart, through a private array.
    pub(super) fn gather(&mut self, operand: usize, at: Value, stride: &Dim, ty: Type) -> Value {
        let place = self.b.local(ty.dtype, u32::from(ty.lanes));
        let (stride, mut from) = (self.dim(stride), at);
        for lane in 0..ty.lanes {
            let element = self.b.load(Place::Buffer(operand), from, Type::scalar(ty.dtype));
            let to = self.b.int(i64::from(lane));
            self.b.store(place, to, element);
            from = self.binary(BinaryOp::Add, from, stride);
        }
        let zero = self.b.int(0);
        self.b.load(place, zero, ty)
    }

    pub(super) fn load(&mut self, id: ScalarId, point: &Point) -> Value {
        let nest = self.nest;
        let (operand, address) = &nest.reads[&id];
        let (base, offset) = match address {
            Address::Strided { affine, computed } => {
                let mut terms = Vec::new();
                for (index, stride) in computed {
                    let index = match self.lane_step(*index) {
                        Some(_) => self.at_first_lane(|this| this.scalar(*index, point)),
                        None => self.scalar(*index, point),
                    };
                    let stride = self.dim(stride);
                    terms.push(self.binary(BinaryOp::Mul, index, stride));
                }
                (self.base(affine, terms), self.offset(affine, point))
            }
            Address::Panels { batch, depth, depth_extent, column } => {
                let panel = Dim::from(PANEL);
                let rows = batch.plus(&depth.times(&panel));
                // A tile starts at a whole panel, or is narrow enough to stay in the one it starts in.
                let at = self.distance(*column, point);
                let inside = &(&Dim::from(at / PANEL * PANEL) * depth_extent) + &Dim::from(at % PANEL);
                let (width, size) = (self.b.int(PANEL), self.dim(&(&panel * depth_extent)));
                let [before, rest] = self.panel_start(self.bases[column], width, size);
                (self.base(&rows, vec![before, rest]), &self.offset(&rows, point) + &inside)
            }
        };
        let mut stride = self.vector.map_or(Dim::from(0), |var| address.coefficient(var));
        if let Address::Strided { computed, .. } = address {
            for (index, distance) in computed {
                stride = &stride + &(distance * &self.lane_step(*index).unwrap_or(0).into());
            }
        }
        let lanes = if stride.is(0) { 1 } else { point.lanes };
        let key = (*operand, base, offset.clone(), lanes);
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.loads.get(&key)) {
            return *value;
        }
        let at = self.moved(base, &offset);
        let ty = Type::vector(nest.body.dtype(id), lanes);
        if self.prefetching {
            self.b.prefetch(Place::Buffer(*operand), at);
            return self.b.number(ty, 0.0);
        }
        if let (Some(distance), Address::Panels { .. }) = (self.schedule.prefetch, address) {
            let ahead = self.moved(at, &Dim::from(distance * PANEL));
            self.b.prefetch(Place::Buffer(*operand), ahead);
        }
        let value = match lanes == 1 || stride.is(1) {
            true => self.b.load(Place::Buffer(*operand), at, ty),
            false => self.gather(*operand, at, &stride, ty),
        };
        self.frame().loads.insert(key, value);
        value
    }
}
