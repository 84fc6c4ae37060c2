//! Constants and arithmetic.

use super::{Mlir, Ssa, Writer};
use crate::LlvmError;
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel::{Type, Value};

impl Writer<'_> {
    pub(super) fn float_constant(&mut self, ty: Type, value: f64) -> Ssa {
        match ty.dtype {
            DType::Bf16 => {
                let wide = self.float(ty.with_dtype(DType::F32), value);
                self.cast(wide, ty.with_dtype(DType::F32), DType::Bf16)
            }
            _ => self.float(ty, value),
        }
    }

    pub(super) fn int_constant(&mut self, ty: Type, value: i64) -> Ssa {
        match ty.dtype {
            // `true` and `false` are all that MLIR takes for a dense i1.
            DType::Bool if ty.lanes > 1 => {
                self.temp(format_args!("arith.constant dense<{}> : {}", value != 0, Mlir(ty)))
            }
            DType::Bool => self.temp(format_args!("arith.constant {} ", value != 0)),
            dtype => {
                // Wrapped to the width, as a signed number: what MLIR reads for a signless type.
                let unused = 64 - dtype.bits().max(8);
                self.int(ty, value << unused >> unused)
            }
        }
    }

    pub(super) fn iota(&mut self, ty: Type) -> Ssa {
        let numbers: Vec<String> = (0..ty.lanes).map(|lane| lane.to_string()).collect();
        match ty.lanes {
            1 => self.int(ty, 0),
            _ => self.temp(format_args!("arith.constant dense<[{}]> : {}", numbers.join(", "), Mlir(ty))),
        }
    }

    pub(super) fn unary(&mut self, op: UnaryOp, operand: Value) -> Result<Ssa, LlvmError> {
        let (ty, a) = (self.ty(operand), self.name(operand));
        if matches!(ty.dtype, DType::F16 | DType::Bf16) {
            let wide = ty.with_dtype(DType::F32);
            let a = self.cast(a, ty, DType::F32);
            let result = self.unary_of(op, a, wide)?;
            return Ok(self.cast(result, wide, ty.dtype));
        }
        self.unary_of(op, a, ty)
    }

    fn unary_of(&mut self, op: UnaryOp, a: Ssa, ty: Type) -> Result<Ssa, LlvmError> {
        use UnaryOp::*;
        let float = ty.dtype.is_float();
        let spelled = Mlir(ty);
        let intrinsic = match op {
            Neg if float => return Ok(self.temp(format_args!("arith.negf {a} : {spelled}"))),
            Neg => {
                let zero = self.int(ty, 0);
                return Ok(self.temp(format_args!("arith.subi {zero}, {a} : {spelled}")));
            }
            Not if ty.dtype == DType::Bool => {
                let ones = self.int_constant(ty, 1);
                return Ok(self.temp(format_args!("arith.xori {a}, {ones} : {spelled}")));
            }
            Not if !float => {
                let ones = self.int(ty, -1);
                return Ok(self.temp(format_args!("arith.xori {a}, {ones} : {spelled}")));
            }
            Abs if ty.dtype.is_signed_int() => {
                return Ok(self.temp(format_args!(
                    "\"llvm.intr.abs\"({a}) <{{is_int_min_poison = false}}> : ({spelled}) -> {spelled}"
                )));
            }
            Abs | Floor | Ceil | Round if !float => return Ok(a),
            Abs => "fabs",
            Floor => "floor",
            Ceil => "ceil",
            Round => "roundeven",
            Sqrt if float => "sqrt",
            Not | Sqrt | Sign | Exp | Log | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh
            | Acosh | Atanh | Erf | IsNan | IsInf => {
                return Err(LlvmError::Unary { kernel: self.kernel.name.clone(), op, dtype: ty.dtype });
            }
        };
        Ok(self.temp(format_args!("llvm.intr.{intrinsic}({a}) : ({spelled}) -> {spelled}")))
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Ssa {
        let ty = self.ty(a);
        let known = self.ints[b.0 as usize];
        let (a, b) = (self.name(a), self.name(b));
        self.binary_of(op, a, b, ty, known)
    }

    /// Where `b` is one number in every lane, `known` says which.
    fn binary_of(&mut self, op: BinaryOp, a: Ssa, b: Ssa, ty: Type, known: Option<i64>) -> Ssa {
        match ty.dtype {
            DType::F16 | DType::Bf16 => {
                let wide = ty.with_dtype(DType::F32);
                let (a, b) = (self.cast(a, ty, DType::F32), self.cast(b, ty, DType::F32));
                let result = self.float_binary(op, a, b, wide);
                if op.is_comparison() { result } else { self.cast(result, wide, ty.dtype) }
            }
            DType::F32 | DType::F64 => self.float_binary(op, a, b, ty),
            _ => self.int_binary(op, a, b, ty, known),
        }
    }

    fn float_binary(&mut self, op: BinaryOp, a: Ssa, b: Ssa, ty: Type) -> Ssa {
        use BinaryOp::*;
        let ty = Mlir(ty);
        let operation = match op {
            Add => "arith.addf",
            Sub => "arith.subf",
            Mul => "arith.mulf",
            Div => "arith.divf",
            Min => return self.temp(format_args!("arith.minimumf {a}, {b} fastmath<nsz> : {ty}")),
            Max => return self.temp(format_args!("arith.maximumf {a}, {b} fastmath<nsz> : {ty}")),
            Eq => "arith.cmpf oeq,",
            Ne => "arith.cmpf une,",
            Lt => "arith.cmpf olt,",
            Le => "arith.cmpf ole,",
            Gt => "arith.cmpf ogt,",
            Ge => "arith.cmpf oge,",
            FloorDiv => {
                let quotient = self.temp(format_args!("arith.divf {a}, {b} : {ty}"));
                return self.temp(format_args!("llvm.intr.floor({quotient}) : ({ty}) -> {ty}"));
            }
            Rem | Mod | Pow | And | Or | Xor | Shl | Shr => "arith.remf",
        };
        self.temp(format_args!("{operation} {a}, {b} : {ty}"))
    }

    fn int_binary(&mut self, op: BinaryOp, a: Ssa, b: Ssa, ty: Type, known: Option<i64>) -> Ssa {
        use BinaryOp::*;
        let signed = ty.dtype.is_signed_int();
        let spelled = Mlir(ty);
        let operation = match op {
            Div | FloorDiv | Mod | Rem => return self.divide(op, a, b, ty, known),
            Shl | Shr => return self.shift(op, a, b, ty, known),
            _ if ty.dtype == DType::Bool && op == Min => "arith.andi",
            _ if ty.dtype == DType::Bool && op == Max => "arith.ori",
            Add => "arith.addi",
            Sub => "arith.subi",
            Mul | Pow => "arith.muli",
            Min if signed => "arith.minsi",
            Min => "arith.minui",
            Max if signed => "arith.maxsi",
            Max => "arith.maxui",
            And => "arith.andi",
            Or => "arith.ori",
            Xor => "arith.xori",
            Eq => "arith.cmpi eq,",
            Ne => "arith.cmpi ne,",
            Lt if signed => "arith.cmpi slt,",
            Le if signed => "arith.cmpi sle,",
            Gt if signed => "arith.cmpi sgt,",
            Ge if signed => "arith.cmpi sge,",
            Lt => "arith.cmpi ult,",
            Le => "arith.cmpi ule,",
            Gt => "arith.cmpi ugt,",
            Ge => "arith.cmpi uge,",
        };
        self.temp(format_args!("{operation} {a}, {b} : {spelled}"))
    }

    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Ssa {
        let ty = self.ty(c);
        let names = [a, b, c].map(|value| self.name(value));
        match ty.dtype {
            DType::F16 | DType::Bf16 => {
                let wide = ty.with_dtype(DType::F32);
                let [a, b, c] = names.map(|name| self.cast(name, ty, DType::F32));
                let spelled = Mlir(wide);
                let result = self.temp(format_args!(
                    "llvm.intr.fma({a}, {b}, {c}) : ({spelled}, {spelled}, {spelled}) -> {spelled}"
                ));
                self.cast(result, wide, ty.dtype)
            }
            DType::F32 | DType::F64 => {
                let ([a, b, c], spelled) = (names, Mlir(ty));
                self.temp(format_args!("llvm.intr.fma({a}, {b}, {c}) : ({spelled}, {spelled}, {spelled}) -> {spelled}"))
            }
            _ => {
                let ([a, b, c], spelled) = (names, Mlir(ty));
                let product = self.temp(format_args!("arith.muli {a}, {b} : {spelled}"));
                self.temp(format_args!("arith.addi {product}, {c} : {spelled}"))
            }
        }
    }

    pub(super) fn select(&mut self, condition: Value, a: Value, b: Value) -> Ssa {
        let ty = self.ty(a);
        self.choose(self.name(condition), self.name(a), self.name(b), ty)
    }

    /// Combines the upper half with the lower one until one lane is left; half floats do so in `f32`.
    pub(super) fn reduce(&mut self, op: FoldOp, a: Value) -> Ssa {
        let full = self.ty(a);
        let dtype = match full.dtype {
            DType::F16 | DType::Bf16 => DType::F32,
            dtype => dtype,
        };
        let combine = match (op, dtype) {
            (FoldOp::Sum, DType::Bool) => BinaryOp::Or,
            (FoldOp::Prod, DType::Bool) => BinaryOp::And,
            _ => op.combine(),
        };
        let mut rest = self.cast(self.name(a), full, dtype);
        let mut lanes = full.lanes;
        while lanes > 1 {
            let (whole, half) = (Mlir(Type::vector(dtype, lanes)), lanes / 2);
            if half == 1 {
                let pair = [0, 1].map(|lane| self.extract(rest, whole.0, lane));
                rest = self.binary_of(combine, pair[0], pair[1], Type::scalar(dtype), None);
                break;
            }
            let (low, high): (Vec<u16>, Vec<u16>) = ((0..half).collect(), (half..lanes).collect());
            let low = self.temp(format_args!("vector.shuffle {rest}, {rest} {low:?} : {whole}, {whole}"));
            let high = self.temp(format_args!("vector.shuffle {rest}, {rest} {high:?} : {whole}, {whole}"));
            rest = self.binary_of(combine, low, high, Type::vector(dtype, half), None);
            lanes = half;
        }
        self.cast(rest, Type::scalar(dtype), full.dtype)
    }
}
