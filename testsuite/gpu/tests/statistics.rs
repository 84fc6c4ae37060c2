//! RADV's figures of shaders that are known to be good and bad.

use drupe_gpu_report::{Error, Shader, Statistics, statistics};
use naga::back::spv;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// SPIR-V of a text in WGSL.
fn spirv(wgsl: &str) -> Vec<u32> {
    let module = naga::front::wgsl::parse_str(wgsl).unwrap();
    let information = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).unwrap();
    let options = spv::Options {
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..spv::Options::default()
    };
    spv::write_vec(&module, &information, &options, None).unwrap()
}

/// What RADV makes of it; nothing where `DRUPE_NO_GPU` says that there need not be a RADV.
fn compiled(wgsl: &str) -> Option<Statistics> {
    let spirv = spirv(wgsl);
    match statistics(&[Shader::read("it", &spirv).unwrap()]) {
        Ok(found) => found.into_iter().next(),
        Err(Error::NoDriver { .. }) if std::env::var_os("DRUPE_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}"),
    }
}

const PLAIN: &str = "
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<uniform> dims: array<vec4<i32>, 1>;
    var<workgroup> shared_row: array<f32, 128>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) task: vec3u) {
        let at = task.x * u32(dims[0].x) + lane;
        shared_row[lane] = x[at];
        workgroupBarrier();
        y[at] = shared_row[63u - lane] * 2.0;
    }";

#[test]
fn a_plain_kernel_keeps_its_values_in_registers() {
    let Some(found) = compiled(PLAIN) else { return };
    assert_eq!((found.spilled_vgprs, found.spilled_sgprs, found.scratch_bytes), (0, 0, 0), "{found:?}");
    assert!((1..32).contains(&found.vgprs) && found.sgprs > 0, "{found:?}");
    assert!((512..=1024).contains(&found.lds_bytes), "{found:?}");
    assert!([32, 64].contains(&found.subgroup_size), "{found:?}");
    assert!(found.subgroups_per_simd >= 8, "{found:?}");
    assert!(found.code_bytes > 0 && found.instructions > 0, "{found:?}");
    assert!(found.latency > 0 && found.inverse_throughput > 0, "{found:?}");
    assert_eq!(found.name, "it");
}

#[test]
fn a_private_array_that_is_indexed_lives_in_scratch_memory() {
    let found = compiled(
        "
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
        var table: array<f32, 1024>;
        for (var i = 0u; i < 1024u; i++) { table[(i * 7u + lane) % 1024u] = x[i + lane]; }
        for (var i = 0u; i < 1024u; i++) { y[i + lane] = table[u32(x[i]) % 1024u]; }
    }",
    );
    let Some(found) = found else { return };
    assert!(found.scratch_bytes >= 4096, "{found:?}");
}

#[test]
fn more_values_than_registers_are_spilled() {
    let sums = 600;
    let mut wgsl = String::from(
        "
    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {\n",
    );
    (0..sums).for_each(|i| wgsl += &format!("var v{i} = 0.0;\n"));
    wgsl += "for (var k = 0u; k < 100u; k++) { let a = x[k * 64u + lane];\n";
    (0..sums).for_each(|i| wgsl += &format!("v{i} = fma(a, x[{i}u * 1000u + k], v{i});\n"));
    wgsl += "}\n";
    (0..sums).for_each(|i| wgsl += &format!("y[{i}u * 64u + lane] = v{i};\n"));
    let Some(found) = compiled(&(wgsl + "}")) else { return };
    assert!(found.spilled_vgprs > 0 && found.scratch_bytes > 0, "{found:?}");
}

#[test]
fn shaders_keep_their_order_and_the_same_gives_the_same() {
    let Some(alone) = compiled(PLAIN) else { return };
    let spirv = spirv(PLAIN);
    let shader = |name| Shader { name, ..Shader::read("", &spirv).unwrap() };
    let found = statistics(&[shader("a"), shader("b")]).unwrap();
    assert_eq!(found.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(Statistics { name: "it".into(), ..found[1].clone() }, alone);
}

#[test]
fn bindings_are_read_from_the_module() {
    let spirv = spirv(PLAIN);
    let shader = Shader::read("plain", &spirv).unwrap();
    assert_eq!((shader.buffers, shader.uniform), (2, true));
}

#[test]
fn what_is_no_shader_is_an_error_that_names_it() {
    let good = spirv(PLAIN);
    let shader = Shader::read("good", &good).unwrap();
    let bad = Shader { name: "bad", spirv: &good[..5], ..shader };
    match statistics(&[shader, bad]) {
        Err(Error::Stopped { shader, why }) => {
            assert_eq!(shader, "bad");
            assert!(why.contains("not a compute shader in SPIR-V"), "{why}");
        }
        Err(Error::NoDriver { .. }) if std::env::var_os("DRUPE_NO_GPU").is_some() => {}
        other => panic!("{other:?}"),
    }
}
