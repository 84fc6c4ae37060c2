//! Dot products of octets, in pieces of one vector register each.

use super::{Mlir, Ssa, Writer};
use crate::Machine;
use drupe_ir::DType;
use drupe_kernel::{Type, Value};

/// The instructions that a machine has for sums of products of four octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DotForm {
    /// `vpdpbusd`: u8 by i8.
    Vnni,
    /// `pmaddwd` on the even and the odd octets, widened to 16 bits.
    MultiplyAddWords,
    /// `sdot`: i8 by i8.
    Sdot,
    /// Products of 16 bits, which hold any u8 by i8, summed pairwise: `mul`, `saddlp`, `addp`.
    Pairwise,
}

impl DotForm {
    pub(super) fn of(machine: &Machine) -> DotForm {
        let has = |feature: &str| machine.has(feature);
        match machine.triple.starts_with("x86_64") {
            true if has("+avxvnni") || has("+avx512vnni") && has("+avx512vl") => DotForm::Vnni,
            true => DotForm::MultiplyAddWords,
            false if has("+dotprod") => DotForm::Sdot,
            false => DotForm::Pairwise,
        }
    }
}

/// What a piece has: lanes of 32 bits.
const LEAST_LANES: u16 = 4;

impl Writer<'_> {
    /// `c[l]` and the sum over j of `a[4l + j] * b[4l + j]`.
    pub(super) fn dot(&mut self, a: Value, b: Value, c: Value) -> Ssa {
        let names = [self.name(a), self.name(b), self.name(c)];
        self.dot_of(self.ty(a).dtype, names, self.ty(c))
    }

    /// As [`Writer::dot`], of factors that are of type `first` and i8.
    fn dot_of(&mut self, first: DType, names: [Ssa; 3], sums: Type) -> Ssa {
        let widest = (self.vector_bits / 32) as u16;
        if sums.lanes < LEAST_LANES {
            return self.short_dot(first, names, sums.lanes);
        }
        let lanes = sums.lanes.min(widest);
        let mut pieces: Vec<Ssa> = Vec::new();
        for piece in 0..sums.lanes / lanes {
            let [a, b] = [(names[0], first), (names[1], DType::I8)].map(|(name, dtype)| {
                self.piece(name, Type::vector(dtype, 4 * sums.lanes), piece * 4 * lanes, 4 * lanes)
            });
            let c = self.piece(names[2], sums, piece * lanes, lanes);
            pieces.push(self.register_dot(first, a, b, c, lanes));
        }
        self.joined(pieces, lanes)
    }

    /// Two rows by two in every four lanes: `smmla`, or a dot product for each half of the rows.
    pub(super) fn dot_pairs(&mut self, a: Value, b: Value, c: Value) -> Ssa {
        let (sums, octets) = (self.ty(c), self.ty(a));
        let [a, b, mut c] = [self.name(a), self.name(b), self.name(c)];
        if self.has_smmla {
            let lanes = LEAST_LANES;
            let (words, factors) = (Mlir(Type::vector(DType::I32, lanes)), Mlir(Type::vector(DType::I8, 4 * lanes)));
            let mut pieces = Vec::new();
            for piece in 0..sums.lanes / lanes {
                let [a, b] = [a, b].map(|name| self.piece(name, octets, piece * 4 * lanes, 4 * lanes));
                let c = self.piece(c, sums, piece * lanes, lanes);
                pieces.push(self.temp(format_args!(
                    "llvm.call_intrinsic \"llvm.aarch64.neon.smmla.v4i32.v16i8\"({c}, {a}, {b}) : \
                     ({words}, {factors}, {factors}) -> {words}"
                )));
            }
            return self.joined(pieces, lanes);
        }
        for half in [0, 1] {
            let [a, b] = [(a, [0, 0, 2, 2]), (b, [0, 2, 0, 2])].map(|(name, quads)| {
                let lane = |l: u16| l / 16 * 16 + 4 * (quads[usize::from(l / 4 % 4)] + half) + l % 4;
                let (lanes, ty): (Vec<u16>, _) = ((0..octets.lanes).map(lane).collect(), Mlir(octets));
                self.temp(format_args!("vector.shuffle {name}, {name} {lanes:?} : {ty}, {ty}"))
            });
            c = self.dot_of(DType::I8, [a, b, c], sums);
        }
        c
    }

    /// Sums of `width` lanes each, a power of two of them, as one vector.
    fn joined(&mut self, mut pieces: Vec<Ssa>, mut width: u16) -> Ssa {
        while pieces.len() > 1 {
            let ty = Mlir(Type::vector(DType::I32, width));
            let all: Vec<u16> = (0..2 * width).collect();
            let join =
                |pair: &[Ssa]| self.temp(format_args!("vector.shuffle {}, {} {all:?} : {ty}, {ty}", pair[0], pair[1]));
            pieces = pieces.chunks(2).map(join).collect();
            width *= 2;
        }
        pieces[0]
    }

    /// `count` lanes of a value from lane `from` on.
    fn piece(&mut self, name: Ssa, ty: Type, from: u16, count: u16) -> Ssa {
        if ty.lanes == count {
            return name;
        }
        let (lanes, ty): (Vec<u16>, _) = ((from..from + count).collect(), Mlir(ty));
        self.temp(format_args!("vector.shuffle {name}, {name} {lanes:?} : {ty}, {ty}"))
    }

    /// Fewer lanes than a register has: repeated until it is full.
    fn short_dot(&mut self, first: DType, [a, b, c]: [Ssa; 3], lanes: u16) -> Ssa {
        let octets = Mlir(Type::vector(DType::I8, 4 * lanes));
        let repeated: Vec<u16> = (0..4 * LEAST_LANES).map(|lane| lane % (4 * lanes)).collect();
        let [a, b] = [a, b]
            .map(|name| self.temp(format_args!("vector.shuffle {name}, {name} {repeated:?} : {octets}, {octets}")));
        let (sums, whole) = (Type::vector(DType::I32, lanes), Type::vector(DType::I32, LEAST_LANES));
        let c = match lanes {
            1 => self.temp(format_args!("vector.broadcast {c} : i32 to {}", Mlir(whole))),
            _ => {
                let repeated: Vec<u16> = (0..LEAST_LANES).map(|lane| lane % lanes).collect();
                self.temp(format_args!("vector.shuffle {c}, {c} {repeated:?} : {0}, {0}", Mlir(sums)))
            }
        };
        let sum = self.register_dot(first, a, b, c, LEAST_LANES);
        match lanes {
            1 => self.extract(sum, whole, 0),
            _ => self.piece(sum, whole, 0, lanes),
        }
    }

    /// A dot product of one register.
    fn register_dot(&mut self, first: DType, a: Ssa, b: Ssa, c: Ssa, lanes: u16) -> Ssa {
        let octets = Type::vector(DType::I8, 4 * lanes);
        match (self.dot_form, first) {
            (DotForm::Vnni, DType::U8) | (DotForm::Sdot, DType::I8) => self.native_dot(a, b, c, lanes),
            (DotForm::Vnni | DotForm::Sdot, _) => {
                // The other sign: a differs from what the instruction takes by 128 in one way or the other, so that
                // -128, which both signs write alike, times b is off by the same.
                let flip = self.int(octets, -128);
                let flipped = self.temp(format_args!("arith.xori {a}, {flip} : {}", Mlir(octets)));
                let (sums, zero) = (Type::vector(DType::I32, lanes), self.int(Type::vector(DType::I32, lanes), 0));
                let whole = self.native_dot(flipped, b, c, lanes);
                let excess = self.native_dot(flip, b, zero, lanes);
                self.temp(format_args!("arith.subi {whole}, {excess} : {}", Mlir(sums)))
            }
            (DotForm::MultiplyAddWords, _) => self.word_dot(first, a, b, c, lanes),
            (DotForm::Pairwise, _) => self.pairwise_dot(first, a, b, c),
        }
    }

    fn native_dot(&mut self, a: Ssa, b: Ssa, c: Ssa, lanes: u16) -> Ssa {
        let name = match self.dot_form {
            DotForm::Vnni => format!("llvm.x86.avx512.vpdpbusd.{}", u32::from(lanes) * 32),
            _ => format!("llvm.aarch64.neon.sdot.v{lanes}i32.v{}i8", 4 * lanes),
        };
        let (sums, octets) = (Mlir(Type::vector(DType::I32, lanes)), Mlir(Type::vector(DType::I8, 4 * lanes)));
        self.temp(format_args!(
            "llvm.call_intrinsic \"{name}\"({c}, {a}, {b}) : ({sums}, {octets}, {octets}) -> {sums}"
        ))
    }

    /// Even and odd octets stay in the words they are in, so that nothing moves between lanes.
    fn word_dot(&mut self, first: DType, a: Ssa, b: Ssa, c: Ssa, lanes: u16) -> Ssa {
        let (octets, words) = (Mlir(Type::vector(DType::I8, 4 * lanes)), Type::vector(DType::I16, 2 * lanes));
        let (sums, spelled) = (Mlir(Type::vector(DType::I32, lanes)), Mlir(words));
        let eight = self.int(words, 8);
        let mut total = c;
        let [a, b] = [a, b].map(|name| self.temp(format_args!("llvm.bitcast {name} : {octets} to {spelled}")));
        for odd in [false, true] {
            let [a, b] = [(a, first), (b, DType::I8)].map(|(name, dtype)| {
                let shift = if dtype == DType::I8 { "arith.shrsi" } else { "arith.shrui" };
                let high = match odd {
                    true => name,
                    false => self.temp(format_args!("arith.shli {name}, {eight} : {spelled}")),
                };
                self.temp(format_args!("{shift} {high}, {eight} : {spelled}"))
            });
            let name = match lanes {
                4 => "llvm.x86.sse2.pmadd.wd",
                8 => "llvm.x86.avx2.pmadd.wd",
                _ => "llvm.x86.avx512.pmaddw.d.512",
            };
            let pairs =
                self.temp(format_args!("llvm.call_intrinsic \"{name}\"({a}, {b}) : ({spelled}, {spelled}) -> {sums}"));
            total = self.temp(format_args!("arith.addi {total}, {pairs} : {sums}"));
        }
        total
    }

    fn pairwise_dot(&mut self, first: DType, a: Ssa, b: Ssa, c: Ssa) -> Ssa {
        let (octets, half) = (Type::vector(DType::I8, 4 * LEAST_LANES), 2 * LEAST_LANES);
        let (words, sums) = (Mlir(Type::vector(DType::I16, half)), Mlir(Type::vector(DType::I32, LEAST_LANES)));
        let narrow = Mlir(Type::vector(DType::I8, half));
        let pairs = [0, half].map(|from| {
            let [a, b] = [(a, first), (b, DType::I8)].map(|(name, dtype)| {
                let piece = self.piece(name, octets, from, half);
                let extend = if dtype == DType::I8 { "arith.extsi" } else { "arith.extui" };
                self.temp(format_args!("{extend} {piece} : {narrow} to {words}"))
            });
            let products = self.temp(format_args!("arith.muli {a}, {b} : {words}"));
            self.temp(format_args!(
                "llvm.call_intrinsic \"llvm.aarch64.neon.saddlp.v4i32.v8i16\"({products}) : ({words}) -> {sums}"
            ))
        });
        let [low, high] = pairs;
        let both = self.temp(format_args!(
            "llvm.call_intrinsic \"llvm.aarch64.neon.addp.v4i32\"({low}, {high}) : ({sums}, {sums}) -> {sums}"
        ));
        self.temp(format_args!("arith.addi {both}, {c} : {sums}"))
    }
}
