//! How the elements of buffers and arrays lie in memory, as shaders declare it.

use super::Index;
use drupe_ir::DType;
use drupe_kernel::{Inst, Kernel, Local, Place, Value};

/// What a buffer or array is declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// An array of scalars.
    Elements,
    /// An array of vectors of four. What is not a whole vector is only loaded.
    Quads,
    /// Elements packed into 32-bit words; all stores are of whole words.
    Words,
    /// The same, in vectors of four words. What is not a whole vector is only loaded.
    WordQuads,
    /// Elements packed into 32-bit words, some of which invocations share when they store: all access is atomic.
    AtomicWords,
    /// `i64` elements of which only the lower 32 bits are looked at: in buffers two words each, in arrays one.
    Narrow,
}

/// How many elements of `dtype` share a 32-bit word of a buffer; 1 where each has its own words, or its 16 bits (`f16`).
pub(crate) fn per_word(dtype: DType) -> usize {
    match dtype {
        DType::Bool | DType::I8 | DType::U8 => 4,
        DType::I16 | DType::U16 | DType::Bf16 => 2,
        DType::F16 | DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => 1,
        // No buffer that is accessed has such elements.
        DType::I4 | DType::U4 => 8,
    }
}

/// The layouts of buffers, private and shared arrays.
pub(super) struct Layouts {
    pub buffers: Vec<Layout>,
    pub locals: Vec<Layout>,
    pub shared: Vec<Layout>,
}

/// How a place is used.
#[derive(Clone, Copy, Default)]
struct Uses {
    /// Something is accessed as whole vectors of four units.
    quads: bool,
    /// Something is stored that is no whole vectors of four units.
    scattered_stores: bool,
    /// Something is loaded that is no whole vectors of four units.
    scattered_loads: bool,
    /// Something is stored that is not of whole words.
    partial_stores: bool,
    /// A value that is accessed needs 64 bits.
    wide: bool,
}

impl Uses {
    fn add(&mut self, lanes: usize, offset: Index, unit: usize, store: bool, wide: bool) {
        let whole = |size: usize| lanes.is_multiple_of(size) && offset.is_multiple_of(size);
        self.quads |= whole(4 * unit);
        self.scattered_stores |= store && !whole(4 * unit);
        self.scattered_loads |= !store && !whole(4 * unit);
        self.partial_stores |= store && !whole(unit);
        self.wide |= wide;
    }

    fn quads(self) -> bool {
        self.quads && !self.scattered_stores
    }
}

pub(super) fn layouts(kernel: &Kernel, wide: &[bool], index: &[Index]) -> Layouts {
    let mut buffers = vec![Uses::default(); kernel.buffers.len()];
    let mut locals = vec![Uses::default(); kernel.locals.len()];
    let mut shared = vec![Uses::default(); kernel.shared.len()];
    let mut add = |place: Place, offset: Value, value: Value, store: bool| {
        let (ty, offset, wide) = (kernel.ty(value), index[offset.0 as usize], wide[value.0 as usize]);
        let (uses, unit) = match place {
            Place::Buffer(number) => (&mut buffers[number], per_word(ty.dtype)),
            Place::Local(number) => (&mut locals[number], 1),
            Place::Shared(number) => (&mut shared[number], 1),
        };
        uses.add(usize::from(ty.lanes), offset, unit, store, wide);
    };
    kernel.body.visit(&mut |inst| match inst {
        Inst::Load { out, place, offset } => add(*place, *offset, *out, false),
        Inst::Store { place, offset, value } => add(*place, *offset, *value, true),
        Inst::Float { .. }
        | Inst::Int { .. }
        | Inst::Iota { .. }
        | Inst::Dim { .. }
        | Inst::Invocation { .. }
        | Inst::Subgroup { .. }
        | Inst::Subgroups { .. }
        | Inst::Unary { .. }
        | Inst::Binary { .. }
        | Inst::Fma { .. }
        | Inst::Dot { .. }
        | Inst::DotPairs { .. }
        | Inst::Select { .. }
        | Inst::Cast { .. }
        | Inst::Bitcast { .. }
        | Inst::Splat { .. }
        | Inst::Extract { .. }
        | Inst::Reduce { .. }
        | Inst::Shuffle { .. }
        | Inst::Prefetch { .. }
        | Inst::Barrier
        | Inst::Across { .. }
        | Inst::Tile { .. }
        | Inst::For(_)
        | Inst::If { .. } => {}
    });
    // Tiles are read from and stored to scalars.
    kernel.body.visit(&mut |inst| {
        if let Inst::Tile { op, .. } = inst {
            for square in op.squares() {
                match square.place {
                    Place::Buffer(number) => buffers[number].scattered_stores = true,
                    Place::Local(number) => locals[number].scattered_stores = true,
                    Place::Shared(number) => shared[number].scattered_stores = true,
                }
            }
        }
    });
    // A private array whose elements are accessed one by one stays in registers only if it is declared so.
    let array = |array: &Local, uses: &Uses, mixed: bool| match array.dtype {
        DType::I64 if !uses.wide => Layout::Narrow,
        DType::F64 | DType::I64 | DType::U64 => Layout::Elements,
        _ if uses.quads() && (mixed || !uses.scattered_loads) => Layout::Quads,
        _ => Layout::Elements,
    };
    Layouts {
        buffers: kernel.buffers.iter().zip(&buffers).map(|(buffer, uses)| of_buffer(buffer.dtype, *uses)).collect(),
        locals: kernel.locals.iter().zip(&locals).map(|(local, uses)| array(local, uses, false)).collect(),
        shared: kernel.shared.iter().zip(&shared).map(|(shared, uses)| array(shared, uses, true)).collect(),
    }
}

fn of_buffer(dtype: DType, uses: Uses) -> Layout {
    match dtype {
        DType::I64 if !uses.wide => Layout::Narrow,
        DType::I64 | DType::U64 | DType::F64 => Layout::Elements,
        dtype if per_word(dtype) == 1 && uses.quads() => Layout::Quads,
        dtype if per_word(dtype) == 1 => Layout::Elements,
        _ if uses.partial_stores => Layout::AtomicWords,
        _ if uses.quads() => Layout::WordQuads,
        _ => Layout::Words,
    }
}
