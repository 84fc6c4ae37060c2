//! Values of all invocations combined: through an array that they share, or by subgroups first.

use super::Translator;
use super::code::{Expr, Kind};
use super::held::{Held, part_kind};
use crate::GpuError;
use crate::analysis::Index;
use drupe_ir::{BinaryOp, DType, FoldOp};
use naga::{
    ArraySize, BinaryOperator as Bin, BuiltIn, CollectiveOperation, Expression, MathFunction as Math, Scalar,
    Statement, SubgroupOperation,
};
use std::num::NonZeroU32;

/// What combinations share.
#[derive(Default)]
pub(super) struct Scratch {
    /// An array for each part of a value, by type, with an element for each invocation.
    arrays: Vec<(Kind, usize, Expr)>,
    /// Whether an array may still be read by an invocation that is behind.
    pub busy: bool,
    subgroup: Option<Subgroup>,
}

/// Where an invocation stands.
#[derive(Clone, Copy)]
pub(super) struct Subgroup {
    /// The number of its subgroup.
    pub number: Expr,
    /// How many there are.
    pub count: Expr,
    /// Its number in it.
    lane: Expr,
    /// How many invocations it has.
    size: Expr,
}

impl Translator<'_> {
    /// The values of all invocations combined; half floats in `f32`. Invocation `i` first meets the one half of the
    /// workgroup further, as lanes do: but by subgroups, in an order of the device.
    pub fn across(&mut self, op: FoldOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        if self.kernel.workgroup == 1 {
            return Ok(a.clone());
        }
        let through = match dtype {
            DType::F16 | DType::Bf16 => DType::F32,
            DType::Bool => DType::U32,
            dtype => dtype,
        };
        if through != dtype {
            let held = self.cast(a, dtype, through, false);
            let op = Self::combination(op, dtype);
            let combined = self.combined(op, through, &held)?;
            return Ok(self.cast(&combined, through, dtype, false));
        }
        self.combined(Self::combination(op, dtype), dtype, a)
    }

    fn combined(&mut self, op: BinaryOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        if self.options.subgroups && a.scalar.width == 4 {
            self.by_subgroups(op, dtype, a)
        } else {
            self.by_tree(op, dtype, a)
        }
    }

    fn by_tree(&mut self, op: BinaryOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        let count = self.kernel.workgroup;
        let (own, arrays) = (self.invocation(), self.scratch(a));
        self.leave(&arrays, own, a);
        let mut distance = count.next_power_of_two() / 2;
        while distance > 0 {
            self.code.barrier();
            // Those that have a partner: fewer than `distance` where the count is no power of two.
            let (step, limit) = (self.code.u32(distance), self.code.u32(distance.min(count - distance)));
            let meets = self.code.binary(Bin::Less, own, limit);
            self.code.open();
            let partner = self.code.binary(Bin::Add, own, step);
            let (first, second) = (self.left(&arrays, own, a), self.left(&arrays, partner, a));
            let both = self.binary(op, dtype, &first, &second, [Index::default(); 2])?;
            for (array, part) in arrays.iter().zip(&both.parts) {
                let pointer = self.code.access(*array, own);
                self.code.store(pointer, *part);
            }
            let accept = self.code.close();
            self.code.statement(Statement::If { condition: meets, accept, reject: naga::Block::new() });
            distance /= 2;
        }
        self.code.barrier();
        let first = self.code.u32(0);
        Ok(self.left(&arrays, first, a))
    }

    fn by_subgroups(&mut self, op: BinaryOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        let subgroup = self.subgroup();
        let arrays = self.scratch(a);
        let own = self.collective(op, dtype, a);
        let (zero, one) = (self.code.u32(0), self.code.u32(1));
        let first = self.code.binary(Bin::Equal, subgroup.lane, zero);
        self.wait_for_scratch();
        self.code.open();
        for (array, part) in arrays.iter().zip(&own.parts) {
            let pointer = self.code.access(*array, subgroup.number);
            self.code.store(pointer, *part);
        }
        let accept = self.code.close();
        self.code.statement(Statement::If { condition: first, accept, reject: naga::Block::new() });
        self.code.barrier();
        // Every subgroup combines what all have left, as many at a time as it has lanes.
        let start = match op {
            BinaryOp::Add => self.constant(a, 0),
            BinaryOp::Mul => self.constant(a, 1),
            // Combining one with itself changes nothing.
            _ => self.left(&arrays, zero, a),
        };
        let ty = self.code.ty(a.kind());
        let sums: Vec<Expr> = start.parts.iter().map(|_| self.code.variable("combined", ty)).collect();
        let ty = self.code.ty(part_kind(Scalar::U32, 1));
        let counter = self.code.variable("subgroup", ty);
        for (variable, part) in sums.iter().zip(&start.parts) {
            self.code.store(*variable, *part);
        }
        self.code.store(counter, zero);
        self.code.open();
        let number = self.code.load(counter);
        let inside = self.code.binary(Bin::Less, number, subgroup.count);
        self.code.open();
        self.code.statement(Statement::Break);
        let reject = self.code.close();
        self.code.statement(Statement::If { condition: inside, accept: naga::Block::new(), reject });
        let mine = self.code.binary(Bin::Add, number, subgroup.lane);
        let last = self.code.binary(Bin::Subtract, subgroup.count, one);
        let there = self.code.math(Math::Min, &[mine, last]);
        let found = self.left(&arrays, there, a);
        let sum = Held { parts: sums.iter().map(|variable| self.code.load(*variable)).collect(), ..a.clone() };
        let both = self.binary(op, dtype, &sum, &found, [Index::default(); 2])?;
        let is_mine = self.code.binary(Bin::Less, mine, subgroup.count);
        let condition = self.splat(Scalar::BOOL, is_mine, a.lanes);
        let next = self.select(&condition, &both, &sum);
        for (variable, part) in sums.iter().zip(&next.parts) {
            self.code.store(*variable, *part);
        }
        let next = self.code.binary(Bin::Add, number, subgroup.size);
        self.code.store(counter, next);
        let body = self.code.close();
        self.code.statement(Statement::Loop { body, continuing: naga::Block::new(), break_if: None });
        let sum = Held { parts: sums.iter().map(|variable| self.code.load(*variable)).collect(), ..a.clone() };
        Ok(self.collective(op, dtype, &sum))
    }

    /// The values of the invocations of the subgroup combined.
    fn collective(&mut self, op: BinaryOp, dtype: DType, a: &Held) -> Held {
        let operation = match op {
            BinaryOp::Mul => SubgroupOperation::Mul,
            BinaryOp::Min => SubgroupOperation::Min,
            BinaryOp::Max => SubgroupOperation::Max,
            BinaryOp::And => SubgroupOperation::And,
            BinaryOp::Or => SubgroupOperation::Or,
            _ => SubgroupOperation::Add,
        };
        let kind = a.kind();
        let extreme = dtype.is_float() && matches!(op, BinaryOp::Min | BinaryOp::Max);
        let held = self.map(a, a.scalar, |s, part| {
            let combined = s.collected(operation, kind, part);
            if !extreme {
                return combined;
            }
            // Devices may pass over NaN.
            let words = kind.with(Scalar::U32);
            let (nan, one, zero) = (s.code.is_nan(part), s.code.int(words, 1), s.code.int(words, 0));
            let flag = s.code.select(nan, one, zero);
            let flags = s.collected(SubgroupOperation::Max, words, flag);
            let any = s.code.binary(Bin::NotEqual, flags, zero);
            let lanes = kind.size.map_or(1, u32::from) as u16;
            let ty = drupe_kernel::Type::vector(DType::F32, lanes);
            let not_a_number = s.float_constant(ty, f64::NAN).parts[0];
            s.code.select(any, not_a_number, combined)
        });
        self.wrap(dtype, &held)
    }

    fn collected(&mut self, op: SubgroupOperation, kind: Kind, argument: Expr) -> Expr {
        let ty = self.code.ty(kind);
        let result = self.code.given(Expression::SubgroupOperationResult { ty });
        let collective_op = CollectiveOperation::Reduce;
        self.code.statement(Statement::SubgroupCollectiveOperation { op, collective_op, argument, result });
        result
    }

    fn constant(&mut self, like: &Held, number: i64) -> Held {
        let kind = part_kind(like.scalar, 1);
        let one = match like.scalar {
            Scalar::F32 => self.float(kind, number as f64),
            _ => self.code.int(kind, number),
        };
        self.splat(like.scalar, one, like.lanes)
    }

    /// Waits until no invocation reads an array of scratch any more.
    fn wait_for_scratch(&mut self) {
        if self.scratch.busy {
            self.code.barrier();
        }
        self.scratch.busy = true;
    }

    /// Puts `a` where others find it.
    fn leave(&mut self, arrays: &[Expr], number: Expr, a: &Held) {
        self.wait_for_scratch();
        for (array, part) in arrays.iter().zip(&a.parts) {
            let pointer = self.code.access(*array, number);
            self.code.store(pointer, *part);
        }
    }

    /// What was left under `number`.
    fn left(&mut self, arrays: &[Expr], number: Expr, like: &Held) -> Held {
        let mut parts = Vec::new();
        for array in arrays {
            let pointer = self.code.access(*array, number);
            parts.push(self.code.load(pointer));
        }
        Held { parts, ..like.clone() }
    }

    /// An array for each part of values like `a`.
    fn scratch(&mut self, a: &Held) -> Vec<Expr> {
        (0..a.parts.len()).map(|part| self.scratch_array(a.kind(), part)).collect()
    }

    fn scratch_array(&mut self, kind: Kind, part: usize) -> Expr {
        let fits = |array: &&(Kind, usize, Expr)| (array.0, array.1) == (kind, part);
        if let Some((_, _, known)) = self.scratch.arrays.iter().find(fits) {
            return *known;
        }
        let base = self.code.ty(kind);
        let length = NonZeroU32::new(self.kernel.workgroup).expect("the verifier saw an invocation");
        let ty = self.code.array(base, ArraySize::Constant(length), kind.octets());
        let new = self.code.workgroup_array("scratch", ty);
        self.scratch.arrays.push((kind, part, new));
        new
    }

    /// A count that the device gives of subgroups.
    pub fn count_held(&mut self, which: fn(Subgroup) -> Expr) -> Held {
        let count = which(self.subgroup());
        Held::scalar(Scalar::I32, self.code.convert(count, Scalar::I32))
    }

    fn subgroup(&mut self) -> Subgroup {
        if let Some(known) = self.scratch.subgroup {
            return known;
        }
        self.code.needs.subgroups = true;
        let new = Subgroup {
            number: self.built_in("subgroup_id", BuiltIn::SubgroupId),
            count: self.built_in("subgroup_count", BuiltIn::NumSubgroups),
            lane: self.built_in("subgroup_lane", BuiltIn::SubgroupInvocationId),
            size: self.built_in("subgroup_size", BuiltIn::SubgroupSize),
        };
        self.scratch.subgroup = Some(new);
        new
    }
}
