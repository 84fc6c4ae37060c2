//! Conversions of lanes, and of shapes.

use super::{Mlir, Ssa, Writer};
use drupe_ir::DType;
use drupe_kernel::{Type, Value};

impl Writer<'_> {
    /// `a`, of type `from`, as `to`.
    pub(super) fn cast(&mut self, a: Ssa, from: Type, to: DType) -> Ssa {
        use DType::*;
        let target = from.with_dtype(to);
        match (from.dtype, to) {
            (same, to) if same == to => a,
            // Half floats go through f32.
            (F16, F32) => self.convert("arith.extf", a, from, target),
            (Bf16, F32) => self.bf16_to_f32(a, from.lanes),
            (F16 | Bf16, _) => {
                let wide = self.cast(a, from, F32);
                self.cast(wide, from.with_dtype(F32), to)
            }
            (F32, F16) => self.convert("arith.truncf", a, from, target),
            (F32, Bf16) => self.f32_to_bf16(a, from.lanes),
            (_, F16 | Bf16) => {
                let wide = self.cast(a, from, F32);
                self.cast(wide, from.with_dtype(F32), to)
            }
            (F32, F64) => self.convert("arith.extf", a, from, target),
            (F64, F32) => self.convert("arith.truncf", a, from, target),
            (F32 | F64, Bool) => {
                let zero = self.float(from, 0.0);
                self.temp(format_args!("arith.cmpf une, {a}, {zero} : {}", Mlir(from)))
            }
            (F32 | F64, _) => self.float_to_int(a, from, to),
            (Bool, F32 | F64) => self.convert("arith.uitofp", a, from, target),
            (Bool, _) => self.convert("arith.extui", a, from, target),
            (int, F32 | F64) => {
                let operation = if int.is_signed_int() { "arith.sitofp" } else { "arith.uitofp" };
                self.convert(operation, a, from, target)
            }
            (_, Bool) => {
                let zero = self.int(from, 0);
                self.temp(format_args!("arith.cmpi ne, {a}, {zero} : {}", Mlir(from)))
            }
            (int, to) if int.bits().max(8) > to.bits().max(8) => self.convert("arith.trunci", a, from, target),
            (int, to) if int.bits().max(8) == to.bits().max(8) => a,
            (int, _) if int.is_signed_int() => self.convert("arith.extsi", a, from, target),
            _ => self.convert("arith.extui", a, from, target),
        }
    }

    fn convert(&mut self, operation: &str, a: Ssa, from: Type, to: Type) -> Ssa {
        self.temp(format_args!("{operation} {a} : {} to {}", Mlir(from), Mlir(to)))
    }

    /// Rounds towards zero and saturates; NaN gives 0.
    fn float_to_int(&mut self, a: Ssa, from: Type, to: DType) -> Ssa {
        let narrow = to.bits() < 32 || to == DType::I32;
        if from == Type::vector(DType::F32, from.lanes) && from.lanes > 1 && narrow {
            return self.vector_to_int(a, from, to);
        }
        let kind = if to.is_signed_int() { "fptosi" } else { "fptoui" };
        let (result, float) = (from.with_dtype(to), Mlir(from));
        let suffix = match from.lanes {
            1 => format!("i{}.f{}", to.bits(), from.dtype.bits()),
            lanes => format!("v{lanes}i{}.v{lanes}f{}", to.bits(), from.dtype.bits()),
        };
        self.temp(format_args!("llvm.call_intrinsic \"llvm.{kind}.sat.{suffix}\"({a}) : ({float}) -> {}", Mlir(result)))
    }

    /// [`Writer::float_to_int`] for vectors of f32 and up to 32 signed bits, lane by lane: LLVM takes its own saturating
    /// conversion apart into scalars.
    fn vector_to_int(&mut self, a: Ssa, from: Type, to: DType) -> Ssa {
        let wide = from.with_dtype(DType::I32);
        let (bits, signed) = (to.bits(), to.is_signed_int());
        let most = (1i64 << if signed { bits - 1 } else { bits }) - 1;
        let least = if signed { -most - 1 } else { 0 };
        // The largest f32 that is no larger: of 32 bits it ends in zeros.
        let reach = if bits == 32 { most - 127 } else { most };
        let (low, high, zero) = (self.float(from, least as f64), self.float(from, reach as f64), self.float(from, 0.0));
        let is_number = self.temp(format_args!("arith.cmpf ord, {a}, {a} : {}", Mlir(from)));
        let number = self.choose(is_number, a, zero, from);
        let above = self.temp(format_args!("arith.maxnumf {number}, {low} : {}", Mlir(from)));
        let within = self.temp(format_args!("arith.minnumf {above}, {high} : {}", Mlir(from)));
        let whole = self.convert("arith.fptosi", within, from, wide);
        if bits < 32 {
            return self.convert("arith.trunci", whole, wide, from.with_dtype(to));
        }
        let beyond = self.temp(format_args!("arith.cmpf ogt, {a}, {high} : {}", Mlir(from)));
        let most = self.int(wide, most);
        self.choose(beyond, most, whole, wide)
    }

    fn bf16_to_f32(&mut self, a: Ssa, lanes: u16) -> Ssa {
        let (bits, wide) = (Type::vector(DType::Bf16, lanes), Type::vector(DType::U32, lanes));
        let extended = self.convert("arith.extui", a, bits, wide);
        let sixteen = self.int(wide, 16);
        let shifted = self.temp(format_args!("arith.shli {extended}, {sixteen} : {}", Mlir(wide)));
        self.convert("arith.bitcast", shifted, wide, wide.with_dtype(DType::F32))
    }

    /// To nearest, halves to even; NaN stays NaN.
    fn f32_to_bf16(&mut self, a: Ssa, lanes: u16) -> Ssa {
        let (float, wide) = (Type::vector(DType::F32, lanes), Type::vector(DType::U32, lanes));
        let ty = Mlir(wide);
        let bits = self.convert("arith.bitcast", a, float, wide);
        let sixteen = self.int(wide, 16);
        let upper = self.temp(format_args!("arith.shrui {bits}, {sixteen} : {ty}"));
        let one = self.int(wide, 1);
        let odd = self.temp(format_args!("arith.andi {upper}, {one} : {ty}"));
        let half = self.int(wide, 0x7FFF);
        let bias = self.temp(format_args!("arith.addi {odd}, {half} : {ty}"));
        let biased = self.temp(format_args!("arith.addi {bits}, {bias} : {ty}"));
        let rounded = self.temp(format_args!("arith.shrui {biased}, {sixteen} : {ty}"));
        let quiet = self.int(wide, 0x40);
        let nan = self.temp(format_args!("arith.ori {upper}, {quiet} : {ty}"));
        let is_nan = self.temp(format_args!("arith.cmpf uno, {a}, {a} : {}", Mlir(float)));
        let result = self.choose(is_nan, nan, rounded, wide);
        self.convert("arith.trunci", result, wide, wide.with_dtype(DType::Bf16))
    }

    /// `arith.select` on values of one type.
    pub(super) fn choose(&mut self, condition: Ssa, a: Ssa, b: Ssa, ty: Type) -> Ssa {
        let (bits, ty) = (Mlir(ty.with_dtype(DType::Bool)), Mlir(ty));
        match ty.0.lanes {
            1 => self.temp(format_args!("arith.select {condition}, {a}, {b} : {ty}")),
            _ => self.temp(format_args!("arith.select {condition}, {a}, {b} : {bits}, {ty}")),
        }
    }

    pub(super) fn bitcast(&mut self, a: Value, to: Type) -> Ssa {
        let (from, name) = (self.ty(a), self.name(a));
        let (before, after) = (Mlir(from).to_string(), Mlir(to).to_string());
        match (before == after, from.lanes == to.lanes) {
            (true, _) => name,
            (false, true) => self.temp(format_args!("arith.bitcast {name} : {before} to {after}")),
            (false, false) => self.temp(format_args!("llvm.bitcast {name} : {before} to {after}")),
        }
    }

    pub(super) fn splat(&mut self, a: Value, ty: Type) -> Ssa {
        let (from, name) = (self.ty(a), self.name(a));
        match ty.lanes {
            1 => name,
            _ => self.temp(format_args!("vector.broadcast {name} : {} to {}", Mlir(from), Mlir(ty))),
        }
    }

    pub(super) fn extract(&mut self, a: Ssa, ty: Type, lane: u16) -> Ssa {
        match ty.lanes {
            1 => a,
            _ => self.temp(format_args!(
                "vector.extract {a}[{lane}] : {} from {}",
                Mlir(Type::scalar(ty.dtype)),
                Mlir(ty)
            )),
        }
    }

    pub(super) fn shuffle(&mut self, a: Value, b: Value, lanes: &[u16], ty: Type) -> Ssa {
        let operand = self.ty(a);
        let (a, b) = (self.name(a), self.name(b));
        if operand.lanes == 1 || ty.lanes == 1 {
            let picked: Vec<Ssa> = (lanes.iter())
                .map(|&lane| match lane.checked_sub(operand.lanes) {
                    None => self.extract(a, operand, lane),
                    Some(lane) => self.extract(b, operand, lane),
                })
                .collect();
            return match picked.as_slice() {
                [one] => *one,
                all => {
                    let names: Vec<String> = all.iter().map(Ssa::to_string).collect();
                    self.temp(format_args!("vector.from_elements {} : {}", names.join(", "), Mlir(ty)))
                }
            };
        }
        let operand = Mlir(operand);
        self.temp(format_args!("vector.shuffle {a}, {b} {lanes:?} : {operand}, {operand}"))
    }
}
