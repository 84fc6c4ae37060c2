//! What is known of a kernel before it is translated: which 64-bit integers need their 64 bits, what offsets are
//! multiples of, and so how each buffer and array is laid out, and which octets stay packed.

mod demand;
mod index;
mod layout;
mod octets;
mod wide;

pub(crate) use index::{Index, wrapped};
pub(crate) use layout::{Layout, per_word};

use drupe_kernel::{Kernel, Value};

/// What is known of a kernel.
pub(crate) struct Facts {
    /// By value: whether it is an `i64` that needs its 64 bits.
    wide: Vec<bool>,
    /// By value: what is known of an integer scalar.
    index: Vec<Index>,
    /// By value: whether it is octets held as words.
    packed: Vec<bool>,
    /// How each buffer is laid out.
    pub buffers: Vec<Layout>,
    /// How each private array is laid out.
    pub locals: Vec<Layout>,
    /// How each shared array is laid out.
    pub shared: Vec<Layout>,
}

impl Facts {
    /// Learns them. The kernel is verified.
    pub fn of(kernel: &Kernel) -> Facts {
        let wide = wide::wide(kernel, &demand::addresses_only(kernel));
        let index = index::indices(kernel);
        let layouts = layout::layouts(kernel, &wide, &index);
        let packed = octets::packed(kernel, &index);
        Facts { wide, index, packed, buffers: layouts.buffers, locals: layouts.locals, shared: layouts.shared }
    }

    /// Whether `value` is an `i64` held in 64 bits.
    pub fn wide(&self, value: Value) -> bool {
        self.wide[value.0 as usize]
    }

    /// Whether `value` is octets held as words of 32 bits, four in each.
    pub fn packed(&self, value: Value) -> bool {
        self.packed[value.0 as usize]
    }

    /// What is known of `value`.
    pub fn index(&self, value: Value) -> Index {
        self.index[value.0 as usize]
    }
}
