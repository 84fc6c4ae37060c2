//! Values as lists of scalars and vectors.

use super::Translator;
use super::code::{Expr, Kind};
use drupe_ir::DType;
use drupe_kernel as ir;
use naga::{Expression, Scalar, ScalarKind, SwizzleComponent, VectorSize};

pub(super) const I64: Scalar = Scalar { kind: ScalarKind::Sint, width: 8 };
pub(super) const U64: Scalar = Scalar { kind: ScalarKind::Uint, width: 8 };
pub(super) const F64: Scalar = Scalar { kind: ScalarKind::Float, width: 8 };
pub(super) const F16: Scalar = Scalar { kind: ScalarKind::Float, width: 2 };

/// What a lane of `dtype` is in registers: `bf16` is a rounded `f32`, narrow integers are 32-bit ones that hold nothing
/// outside of their range, an `i64` is 32 bits unless it is wide.
pub(super) fn register(dtype: DType, wide: bool) -> Scalar {
    match dtype {
        DType::F64 => F64,
        DType::F32 | DType::Bf16 => Scalar::F32,
        DType::F16 => F16,
        DType::I8 | DType::I16 | DType::I32 | DType::I4 => Scalar::I32,
        DType::U8 | DType::U16 | DType::U32 | DType::U4 => Scalar::U32,
        DType::I64 if wide => I64,
        DType::I64 => Scalar::I32,
        DType::U64 => U64,
        DType::Bool => Scalar::BOOL,
    }
}

/// A kernel value: a scalar, a vector of two, or as many vectors of four as hold its lanes.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub scalar: Scalar,
    pub lanes: usize,
    pub parts: Vec<Expr>,
}

impl Held {
    pub fn scalar(scalar: Scalar, part: Expr) -> Held {
        Held { scalar, lanes: 1, parts: vec![part] }
    }

    /// The type of each part.
    pub fn kind(&self) -> Kind {
        part_kind(self.scalar, self.lanes)
    }
}

/// The type of each part of a value.
pub(super) fn part_kind(scalar: Scalar, lanes: usize) -> Kind {
    let size = match lanes {
        1 => None,
        2 => Some(VectorSize::Bi),
        _ => Some(VectorSize::Quad),
    };
    Kind { scalar, size }
}

impl Translator<'_> {
    /// `op` on each part; the result has lanes of type `scalar`.
    pub fn map(&mut self, a: &Held, scalar: Scalar, mut op: impl FnMut(&mut Self, Expr) -> Expr) -> Held {
        let parts = a.parts.iter().map(|part| op(self, *part)).collect();
        Held { scalar, lanes: a.lanes, parts }
    }

    /// `op` on each pair of parts.
    pub fn map2(
        &mut self,
        a: &Held,
        b: &Held,
        scalar: Scalar,
        mut op: impl FnMut(&mut Self, Expr, Expr) -> Expr,
    ) -> Held {
        let parts = a.parts.iter().zip(&b.parts).map(|(a, b)| op(self, *a, *b)).collect();
        Held { scalar, lanes: a.lanes, parts }
    }

    /// Each lane as a scalar.
    pub fn lanes(&mut self, a: &Held) -> Vec<Expr> {
        (0..a.lanes).map(|lane| self.lane(a, lane)).collect()
    }

    /// Lane `lane` as a scalar.
    pub fn lane(&mut self, a: &Held, lane: usize) -> Expr {
        match a.lanes {
            1 => a.parts[0],
            _ => self.code.component(a.parts[lane / 4], (lane % 4) as u32),
        }
    }

    /// A value of these lanes: 1, 2, or a multiple of 4.
    pub fn of_lanes(&mut self, scalar: Scalar, lanes: &[Expr]) -> Held {
        let kind = part_kind(scalar, lanes.len());
        let parts = match kind.size {
            None => lanes.to_vec(),
            Some(size) => {
                lanes.chunks(u32::from(size) as usize).map(|part| self.code.compose(kind, part.to_vec())).collect()
            }
        };
        Held { scalar, lanes: lanes.len(), parts }
    }

    pub fn splat(&mut self, scalar: Scalar, value: Expr, lanes: usize) -> Held {
        let part = self.code.splat(part_kind(scalar, lanes).size, value);
        Held { scalar, lanes, parts: vec![part; lanes.div_ceil(4)] }
    }

    pub fn iota(&mut self, scalar: Scalar, lanes: usize) -> Held {
        let kind = part_kind(scalar, 1);
        let numbers: Vec<Expr> = (0..lanes).map(|lane| self.code.int(kind, lane as i64)).collect();
        self.of_lanes(scalar, &numbers)
    }

    /// Lanes of `a` then `b`, picked by `lanes`.
    pub fn shuffle(&mut self, a: &Held, b: &Held, lanes: &[u16]) -> Held {
        let (kind, per_part) = (part_kind(a.scalar, lanes.len()), lanes.len().min(4));
        let parts = lanes.chunks(per_part).map(|picked| {
            let of = |lane: u16| match usize::from(lane) {
                lane if lane < a.lanes => (a, lane),
                lane => (b, lane - a.lanes),
            };
            // The part that all come from, if there is one.
            let source = |lane: u16| {
                let (held, lane) = of(lane);
                (held.parts[lane / 4], lane % 4)
            };
            let sources: Vec<(Expr, usize)> = picked.iter().map(|lane| source(*lane)).collect();
            let from = sources[0].0;
            let one = a.lanes > 1 && sources.iter().all(|(part, _)| *part == from);
            let in_order = sources.iter().enumerate().all(|(index, (_, lane))| index == *lane);
            match kind.size {
                Some(_) if one && in_order && per_part == a.lanes.min(4) => from,
                Some(size) if one => {
                    const COMPONENTS: [SwizzleComponent; 4] =
                        [SwizzleComponent::X, SwizzleComponent::Y, SwizzleComponent::Z, SwizzleComponent::W];
                    let component = |index: usize| COMPONENTS[sources.get(index).map_or(0, |(_, lane)| *lane)];
                    let pattern = [0, 1, 2, 3].map(component);
                    self.code.emit(Expression::Swizzle { size, vector: from, pattern })
                }
                Some(_) | None => {
                    let components: Vec<Expr> = (picked.iter())
                        .map(|lane| {
                            let (held, lane) = of(*lane);
                            self.lane(held, lane)
                        })
                        .collect();
                    if kind.size.is_none() { components[0] } else { self.code.compose(kind, components) }
                }
            }
        });
        let parts = parts.collect();
        Held { scalar: a.scalar, lanes: lanes.len(), parts }
    }

    /// What `value` is in registers.
    pub fn register_of(&self, value: ir::Value) -> Scalar {
        register(self.kernel.ty(value).dtype, self.facts.wide(value))
    }

    /// An `i64` in as many bits as `wide` says; anything else as it is.
    pub fn widened(&mut self, a: &Held, wide: bool) -> Held {
        match (a.scalar, wide) {
            (I64, false) => self.map(a, Scalar::I32, |s, part| s.code.convert(part, Scalar::I32)),
            (Scalar::I32, true) => self.map(a, I64, |s, part| s.code.convert(part, I64)),
            (_, _) => a.clone(),
        }
    }
}
