//! SPIR-V, and what naga writes wrongly or needlessly taken out of it.

use super::chain;
use super::text::unchecked;
use naga::Module;
use naga::back::spv::{Capability, Options, WriterFlags, ZeroInitializeWorkgroupMemoryMode, write_vec};
use naga::valid::ModuleInfo;
use std::collections::BTreeSet;

pub(super) fn write(module: &Module, info: &ModuleInfo) -> Result<Vec<u32>, String> {
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
    let options = Options {
        lang_version: (1, 3),
        flags: WriterFlags::empty(),
        fake_missing_bindings: true,
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: unchecked(),
        zero_initialize_workgroup_memory: ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        use_storage_input_output_16: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    write_vec(module, info, &options, None).map(|words| cleaned(&words)).map_err(|error| chain(&error))
}

/// Words before the first instruction.
const HEADER: usize = 5;
const OP_TYPE_ARRAY: u32 = 28;
const OP_TYPE_STRUCT: u32 = 30;
const OP_CONSTANT_NULL: u32 = 46;
const OP_VARIABLE: u32 = 59;
const OP_DECORATE: u32 = 71;
const ARRAY_STRIDE: u32 = 6;
const FUNCTION: u32 = 7;

/// The module without strides of arrays that lie in no buffer, which SPIR-V forbids, and without zeros in private
/// variables, which kernels do not read.
fn cleaned(words: &[u32]) -> Vec<u32> {
    let instructions = || Instructions { rest: &words[HEADER..] };
    let of = |opcode: u32| move |inst: &&[u32]| inst[0] & 0xffff == opcode;
    let arrays: BTreeSet<u32> = instructions().filter(|inst| of(OP_TYPE_ARRAY)(inst)).map(|inst| inst[1]).collect();
    // What buffers hold, naga wraps into structures.
    let in_buffers: BTreeSet<u32> =
        instructions().filter(|inst| of(OP_TYPE_STRUCT)(inst)).flat_map(|inst| inst[2..].to_vec()).collect();
    let zeros: BTreeSet<u32> = instructions().filter(|inst| of(OP_CONSTANT_NULL)(inst)).map(|inst| inst[2]).collect();
    let mut cleaned = words[..HEADER].to_vec();
    for inst in instructions() {
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

struct Instructions<'a> {
    rest: &'a [u32],
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
