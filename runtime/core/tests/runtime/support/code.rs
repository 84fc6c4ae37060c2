//! Position-independent leaf kernels, assembled into the test binary and copied out of it.

/// Offset of `y[i] = a[i] + b[i]` over f32, arguments a, b, y.
pub fn add_entry() -> u64 {
    offset(&raw const drupe_test_add)
}

/// Offset of `y[i] = 2 * x[i]` over f32, arguments x, y; goes through the scratch memory.
pub fn double_entry() -> u64 {
    offset(&raw const drupe_test_double)
}

/// The code image with both.
pub fn image() -> Vec<u8> {
    let len = offset(&raw const drupe_test_end) as usize;
    // Safety: the labels enclose assembled bytes of this binary.
    unsafe { std::slice::from_raw_parts(&raw const drupe_test_start, len).to_vec() }
}

fn offset(label: *const u8) -> u64 {
    (label as usize - &raw const drupe_test_start as usize) as u64
}

unsafe extern "C" {
    static drupe_test_start: u8;
    static drupe_test_add: u8;
    static drupe_test_double: u8;
    static drupe_test_end: u8;
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl drupe_test_start, drupe_test_add, drupe_test_double, drupe_test_end",
    ".balign 64",
    "drupe_test_start:",
    "ud2",
    "drupe_test_add:",
    "mov rax, [rdi]",
    "mov r9, [rdi + 8]",
    "mov r10, [rdi + 16]",
    "2: cmp rcx, r8",
    "jge 3f",
    "movss xmm0, [rax + rcx*4]",
    "addss xmm0, [r9 + rcx*4]",
    "movss [r10 + rcx*4], xmm0",
    "inc rcx",
    "jmp 2b",
    "3: ret",
    "drupe_test_double:",
    "mov rax, [rdi]",
    "mov r10, [rdi + 8]",
    "2: cmp rcx, r8",
    "jge 3f",
    "movss xmm0, [rax + rcx*4]",
    "movss [rdx], xmm0",
    "addss xmm0, [rdx]",
    "movss [r10 + rcx*4], xmm0",
    "inc rcx",
    "jmp 2b",
    "3: ret",
    "drupe_test_end:",
    ".byte 0",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl drupe_test_start, drupe_test_add, drupe_test_double, drupe_test_end",
    ".balign 64",
    "drupe_test_start:",
    "udf #0",
    "drupe_test_add:",
    "ldp x9, x10, [x0]",
    "ldr x11, [x0, #16]",
    "2: cmp x3, x4",
    "b.ge 3f",
    "ldr s0, [x9, x3, lsl #2]",
    "ldr s1, [x10, x3, lsl #2]",
    "fadd s0, s0, s1",
    "str s0, [x11, x3, lsl #2]",
    "add x3, x3, #1",
    "b 2b",
    "3: ret",
    "drupe_test_double:",
    "ldp x9, x10, [x0]",
    "2: cmp x3, x4",
    "b.ge 3f",
    "ldr s0, [x9, x3, lsl #2]",
    "str s0, [x2]",
    "ldr s1, [x2]",
    "fadd s0, s0, s1",
    "str s0, [x10, x3, lsl #2]",
    "add x3, x3, #1",
    "b 2b",
    "3: ret",
    "drupe_test_end:",
    ".byte 0",
);
