//! SPIR-V, and what naga writes wrongly or needlessly taken out of it.

use super::chain;
use super::shared::seen_by_others;
use super::text::unchecked;
use crate::Needs;
use naga::Module;
use naga::back::spv::{Capability, Options, WriterFlags, ZeroInitializeWorkgroupMemoryMode, write_vec};
use naga::valid::ModuleInfo;
use std::collections::BTreeSet;

pub(super) fn write(module: &Module, info: &ModuleInfo, needs: Needs) -> Result<Vec<u32>, String> {
    // Without `Int8`, which devices need not have: naga then unpacks octets by shifts.
    let capabilities = [
        Capability::Shader,
        Capability::Int64,
        Capability::Float64,
        Capability::Float16,
        Capability::StorageBuffer16BitAccess,
        Capability::UniformAndStorageBuffer16BitAccess,
        Capability::GroupNonUniform,
        Capability::GroupNonUniformArithmetic,
    ];
    let octets = [Capability::DotProduct, Capability::DotProductInput4x8BitPacked];
    let octets = octets.into_iter().filter(|_| needs.int8_dot);
    let matrices = [Capability::CooperativeMatrixKHR, Capability::VulkanMemoryModel];
    let matrices = matrices.into_iter().filter(|_| needs.cooperative.is_some());
    let options = Options {
        lang_version: (1, 3),
        flags: WriterFlags::empty(),
        fake_missing_bindings: true,
        capabilities: Some(capabilities.into_iter().chain(octets).chain(matrices).collect()),
        bounds_check_policies: unchecked(),
        zero_initialize_workgroup_memory: ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        use_storage_input_output_16: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let words = write_vec(module, info, &options, None).map_err(|error| chain(&error))?;
    let words = cleaned(&words);
    Ok(if needs.cooperative.is_some() { seen_by_others(&words) } else { words })
}

/// Words before the first instruction.
pub(super) const HEADER: usize = 5;
const FIRST_TYPE: u32 = 19;
const OP_TYPE_ARRAY: u32 = 28;
const OP_TYPE_STRUCT: u32 = 30;
const LAST_TYPE: u32 = 33;
const OP_CONSTANT_NULL: u32 = 46;
const OP_VARIABLE: u32 = 59;
const OP_DECORATE: u32 = 71;
const OP_F_ARITHMETIC: [u32; 5] = [127, 129, 131, 133, 136];
const ARRAY_STRIDE: u32 = 6;
const NO_CONTRACTION: u32 = 42;
const FUNCTION: u32 = 7;

/// The module without strides of arrays that lie in no buffer, which SPIR-V forbids; without zeros in private
/// variables, which kernels do not read; and with float arithmetic that drivers leave as it is. They would take
/// `(x + c) - c` for `x`, and round once where the kernel says twice.
fn cleaned(words: &[u32]) -> Vec<u32> {
    let instructions = || Instructions { rest: &words[HEADER..] };
    let of = |opcode: u32| move |inst: &&[u32]| inst[0] & 0xffff == opcode;
    let arrays: BTreeSet<u32> = instructions().filter(|inst| of(OP_TYPE_ARRAY)(inst)).map(|inst| inst[1]).collect();
    // What buffers hold, naga wraps into structures.
    let in_buffers: BTreeSet<u32> =
        instructions().filter(|inst| of(OP_TYPE_STRUCT)(inst)).flat_map(|inst| inst[2..].to_vec()).collect();
    let zeros: BTreeSet<u32> = instructions().filter(|inst| of(OP_CONSTANT_NULL)(inst)).map(|inst| inst[2]).collect();
    let exact: Vec<u32> =
        instructions().filter(|inst| OP_F_ARITHMETIC.contains(&(inst[0] & 0xffff))).map(|inst| inst[2]).collect();
    let mut exact = Some(exact);
    let mut cleaned = words[..HEADER].to_vec();
    for inst in instructions() {
        // Decorations stand before all types, of which every module has one.
        if (FIRST_TYPE..=LAST_TYPE).contains(&(inst[0] & 0xffff)) {
            for target in exact.take().unwrap_or_default() {
                cleaned.extend([3 << 16 | OP_DECORATE, target, NO_CONTRACTION]);
            }
        }
        match (inst[0] & 0xffff, inst) {
            (OP_DECORATE, [_, target, ARRAY_STRIDE, _]) if arrays.contains(target) && !in_buffers.contains(target) => {}
            (OP_VARIABLE, [_, ty, out, FUNCTION, zero]) if zeros.contains(zero) => {
                cleaned.extend([4 << 16 | OP_VARIABLE, *ty, *out, FUNCTION]);
            }
            (_, inst) => cleaned.extend(inst),
        }
    }
    cleaned
}

pub(super) struct Instructions<'a> {
    pub(super) rest: &'a [u32],
}

impl<'a> Iterator for Instructions<'a> {
    type Item = &'a [u32];

    fn next(&mut self) -> Option<&'a [u32]> {
        let count = (*self.rest.first()? >> 16) as usize;
        let (inst, rest) = self.rest.split_at(count.clamp(1, self.rest.len()));
        self.rest = rest;
        Some(inst)
    }
}
