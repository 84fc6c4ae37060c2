//! Shared memory in the Vulkan memory model, which cooperative matrices ask for. There an access is private to an
//! invocation, and no barrier orders it, unless it says otherwise; and a barrier makes nothing available to others unless
//! it says so. naga says neither; nor that atomic operations may be the whole device's, which is a capability there.

use super::spirv::{HEADER, Instructions};
use std::collections::BTreeSet;

const OP_TYPE_INT: u32 = 21;
const OP_CAPABILITY: u32 = 17;
const OP_CONSTANT: u32 = 43;
const OP_FUNCTION: u32 = 54;
const OP_VARIABLE: u32 = 59;
const OP_LOAD: u32 = 61;
const OP_STORE: u32 = 62;
const OP_ACCESS_CHAINS: [u32; 2] = [65, 66];
const OP_CONTROL_BARRIER: u32 = 224;
const OP_COOPERATIVE_MATRIX_LOAD: u32 = 4457;
const OP_COOPERATIVE_MATRIX_STORE: u32 = 4458;
const OP_ATOMICS: std::ops::RangeInclusive<u32> = 227..=242;
const VULKAN_MEMORY_MODEL_DEVICE_SCOPE: u32 = 5346;
const WORKGROUP: u32 = 4;
const NON_PRIVATE_POINTER: u32 = 0x20;
/// AcquireRelease, WorkgroupMemory, MakeAvailable, MakeVisible.
const ORDERED: u32 = 0x8 | 0x100 | 0x2000 | 0x4000;

/// The module with accesses to shared arrays that other invocations see behind a barrier.
pub(super) fn seen_by_others(words: &[u32]) -> Vec<u32> {
    let instructions = || Instructions { rest: &words[HEADER..] };
    let unsigned = instructions().find_map(|inst| match (inst[0] & 0xffff, inst) {
        (OP_TYPE_INT, [_, out, 32, 0]) => Some(*out),
        _ => None,
    });
    // Every module has a built-in number, an unsigned one.
    let Some(unsigned) = unsigned else { return words.to_vec() };
    let mut seen = words[..HEADER].to_vec();
    if instructions().any(|inst| OP_ATOMICS.contains(&(inst[0] & 0xffff))) {
        seen.extend([2 << 16 | OP_CAPABILITY, VULKAN_MEMORY_MODEL_DEVICE_SCOPE]);
    }
    let ordered = words[3];
    seen[3] += 1;
    let mut constant = Some([4 << 16 | OP_CONSTANT, unsigned, ordered, ORDERED]);
    let mut shared = BTreeSet::new();
    for inst in instructions() {
        let opcode = inst[0] & 0xffff;
        if opcode == OP_FUNCTION {
            seen.extend(constant.take().iter().flatten());
        }
        match (opcode, inst) {
            (OP_VARIABLE, [_, _, out, WORKGROUP, ..]) => drop(shared.insert(*out)),
            (_, [_, _, out, base, ..]) if OP_ACCESS_CHAINS.contains(&opcode) && shared.contains(base) => {
                shared.insert(*out);
            }
            _ => {}
        }
        let accesses = match (opcode, inst) {
            (OP_LOAD, [_, _, _, pointer]) | (OP_STORE, [_, pointer, _]) => shared.contains(pointer),
            (OP_COOPERATIVE_MATRIX_LOAD, [_, _, _, pointer, _, _]) => shared.contains(pointer),
            (OP_COOPERATIVE_MATRIX_STORE, [_, pointer, _, _, _]) => shared.contains(pointer),
            _ => false,
        };
        match inst {
            _ if accesses => {
                seen.push(inst[0] + (1 << 16));
                seen.extend(&inst[1..]);
                seen.push(NON_PRIVATE_POINTER);
            }
            [_, execution, memory, _] if opcode == OP_CONTROL_BARRIER => {
                seen.extend([inst[0], *execution, *memory, ordered]);
            }
            inst => seen.extend(inst),
        }
    }
    seen
}
