//! Runs cases on the Vulkan device that there is: Mesa's lavapipe, where there is no other.

mod unfused;

use drupe_gpu::{Options, Shader, emit};
use drupe_ir::DType;
use drupe_kernel_cases::Case;
use std::sync::OnceLock;
use unfused::unfused;

struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// The sides of the tiles that it multiplies, f16 into f32.
    tiles: Vec<u32>,
}

/// A kernel of this text, which runs `tasks` times on `buffers`.
pub fn case(text: &str, buffers: Vec<Vec<u8>>, dims: &[i64], tasks: usize) -> Case {
    let kernel = drupe_kernel::parse(text, "test").unwrap_or_else(|error| panic!("{error}\n{text}"));
    kernel.verify().unwrap_or_else(|error| panic!("{error}"));
    let length = |(buffer, parameter): (Vec<u8>, &drupe_kernel::BufferParam)| {
        let size = parameter.dtype.bytes_of(1);
        let mut buffer = buffer;
        buffer.truncate(buffer.len() / size * size);
        buffer
    };
    let buffers = buffers.into_iter().zip(&kernel.buffers).map(length).collect();
    Case { kernel, buffers, dims: dims.to_vec(), tasks: tasks as i64 }
}

/// The device; none only where `DRUPE_NO_GPU` says that there is none.
fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let found = DEVICE.get_or_init(|| match std::env::var_os("DRUPE_NO_GPU") {
        Some(_) => None,
        None => Some(pollster::block_on(open())),
    });
    found.as_ref()
}

async fn open() -> Device {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(descriptor);
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.unwrap_or_else(|error| {
        panic!("no Vulkan device ({error}): `./x setup gpu` installs lavapipe, DRUPE_NO_GPU=1 leaves these tests out")
    });
    let wanted = wgpu::Features::PASSTHROUGH_SHADERS
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
        | wgpu::Features::SHADER_F64
        | wgpu::Features::SUBGROUP
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: wanted & adapter.features(),
        required_limits: adapter.limits(),
        // Safety: the tests know that shaders are not validated.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await.expect("the adapter has what it says it has");
    let tiles = adapter.cooperative_matrix_properties().into_iter().filter(|tile| {
        let types = [tile.ab_type, tile.cr_type];
        types == [wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32]
            && [tile.n_size, tile.k_size] == [tile.m_size; 2]
    });
    Device { device, queue, tiles: tiles.map(|tile| tile.m_size).collect() }
}

/// The shaders of `cases`.
fn shaders(cases: &[Case], options: &Options) -> Vec<Shader> {
    let shader = |case: &Case| emit(&case.kernel, options).unwrap_or_else(|error| panic!("{error}\n{}", case.kernel));
    cases.iter().map(shader).collect()
}

/// Compares what the device leaves with what the interpreter leaves: to the bit, but for what [`unfused`] says.
pub fn check(cases: &[Case], options: &Options) {
    compare(cases, &shaders(cases, options), |case, output| {
        case.difference(output).and_then(|_| unfused(case).difference(output))
    });
}

/// [`check`] of cases with tiles, those that the device can multiply.
pub fn check_tiles(cases: &[Case]) {
    let Some(device) = device() else { return };
    let has = |case: &&Case| case.kernel.tiles.iter().all(|tile| device.tiles.contains(&tile.side));
    let (known, all): (Vec<Case>, usize) = (cases.iter().filter(has).cloned().collect(), cases.len());
    eprintln!("the device multiplies the tiles of {} of {all} kernels: {:?}", known.len(), device.tiles);
    check(&known, &Options::default());
}

/// Compares with a tolerance, for the functions of the builder: drivers rearrange `fma`s that their device has not.
/// Relative: 4e-6 of `f32`, 1e-12 of `f64`, 1e-3 of `f16`.
pub fn check_closely(cases: &[Case], options: &Options) {
    compare(cases, &shaders(cases, options), close_enough);
}

/// The same of the WGSL, as a browser might compile it: float arithmetic may be rearranged.
pub fn check_wgsl(cases: &[Case]) {
    let mut shaders = shaders(cases, &Options::default());
    for shader in &mut shaders {
        shader.spirv = compiled(shader.wgsl.as_ref().expect("these cases need no 64 bits"));
    }
    compare(cases, &shaders, close_enough);
}

fn compiled(wgsl: &str) -> Vec<u32> {
    use naga::back::spv;
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = naga::front::wgsl::parse_str(wgsl).unwrap_or_else(|error| panic!("{}", error.emit_to_string(wgsl)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).expect("it was written");
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &options, None).expect("it was validated")
}

fn close_enough(case: &Case, output: &[Vec<u8>]) -> Option<String> {
    let expected = unfused(case).expected();
    for ((expected, got), buffer) in expected.iter().zip(output).zip(&case.kernel.buffers) {
        let size = buffer.dtype.bytes_of(1);
        let pairs = expected.chunks(size).zip(got.chunks(size));
        let far = pairs.enumerate().find(|(_, (expected, got))| !close(buffer.dtype, expected, got));
        if let Some((index, (expected, got))) = far {
            return Some(format!("{}[{index}] is {got:x?}, not {expected:x?}\n{}", buffer.name, case.kernel));
        }
    }
    None
}

fn close(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let bits = |octets: &[u8]| octets.iter().rev().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    let (number, tolerance): (fn(u64) -> f64, f64) = match dtype {
        DType::F32 => (|bits| f32::from_bits(bits as u32).into(), 4e-6),
        DType::F64 => (f64::from_bits, 1e-12),
        DType::F16 => (|bits| half::f16::from_bits(bits as u16).into(), 1e-3),
        _ => return a == b,
    };
    let (a, b) = (number(bits(a)), number(bits(b)));
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= tolerance * a.abs()
}

fn compare(cases: &[Case], shaders: &[Shader], difference: impl Fn(&Case, &[Vec<u8>]) -> Option<String>) {
    let Some(device) = device() else { return };
    let outputs = run(device, cases, shaders);
    let found: Vec<String> = cases.iter().zip(&outputs).filter_map(|(case, output)| difference(case, output)).collect();
    let first = found[..found.len().min(3)].join("\n\n");
    assert!(found.is_empty(), "{} of {} kernels differ:\n{first}", found.len(), cases.len());
}

/// The buffers of `cases` after running.
fn run(device: &Device, cases: &[Case], shaders: &[Shader]) -> Vec<Vec<Vec<u8>>> {
    let batch = |(cases, shaders): (&[Case], &[Shader])| run_batch(device, cases, shaders);
    cases.chunks(128).zip(shaders.chunks(128)).flat_map(batch).collect()
}

/// Where bindings start.
const ALIGNMENT: usize = 256;

/// One allocation for the buffers of all cases, one submission.
fn run_batch(device: &Device, cases: &[Case], shaders: &[Shader]) -> Vec<Vec<Vec<u8>>> {
    let Device { device, queue, .. } = device;
    let mut arena = Vec::new();
    let mut ranges: Vec<Vec<(u64, u64)>> = Vec::new();
    for case in cases {
        let mut own = Vec::new();
        for buffer in &case.buffers {
            own.push((arena.len() as u64, buffer.len().next_multiple_of(16).max(16) as u64));
            arena.extend_from_slice(buffer);
            arena.resize(arena.len().next_multiple_of(ALIGNMENT).max(own[own.len() - 1].0 as usize + ALIGNMENT), 0xA5);
        }
        ranges.push(own);
    }
    let size = arena.len() as u64;
    use wgpu::BufferUsages as Usage;
    let buffer = |size: u64, usage: Usage| {
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let memory = buffer(size, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC);
    let readback = buffer(size, Usage::MAP_READ | Usage::COPY_DST);
    queue.write_buffer(&memory, 0, &arena);
    let mut encoder = device.create_command_encoder(&Default::default());
    for ((case, shader), ranges) in cases.iter().zip(shaders).zip(&ranges) {
        let mut numbers: Vec<i32> = case.dims.iter().map(|dim| *dim as i32).collect();
        numbers.resize(numbers.len().next_multiple_of(4).max(4), -1);
        let octets: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let dims = buffer(octets.len() as u64, Usage::UNIFORM | Usage::COPY_DST);
        queue.write_buffer(&dims, 0, &octets);
        dispatch(device, &mut encoder, shader, case.tasks as u32, &memory, ranges, &dims);
    }
    encoder.copy_buffer_to_buffer(&memory, 0, &readback, 0, size);
    queue.submit([encoder.finish()]);
    readback.slice(..).map_async(wgpu::MapMode::Read, |mapped| mapped.expect("the buffer can be read"));
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device answers");
    let result = readback.slice(..).get_mapped_range().expect("it is mapped").to_vec();
    let of = |(case, ranges): (&Case, &Vec<(u64, u64)>)| {
        let own = |(buffer, (start, _)): (&Vec<u8>, &(u64, u64))| result[*start as usize..][..buffer.len()].to_vec();
        case.buffers.iter().zip(ranges).map(own).collect()
    };
    cases.iter().zip(&ranges).map(of).collect()
}

fn dispatch(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    shader: &Shader,
    tasks: u32,
    memory: &wgpu::Buffer,
    ranges: &[(u64, u64)],
    dims: &wgpu::Buffer,
) {
    let entry = wgpu::PassthroughShaderEntryPoint { name: "main".into(), workgroup_size: (shader.workgroup, 1, 1) };
    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
        label: Some(&shader.name),
        entry_points: vec![entry].into(),
        spirv: Some(shader.spirv.as_slice().into()),
        ..Default::default()
    };
    // Safety: naga has validated the module, and interpreting the kernel shows that it stays within its buffers.
    let module = unsafe { device.create_shader_module_passthrough(descriptor) };
    let storage = wgpu::BufferBindingType::Storage { read_only: false };
    let types =
        std::iter::repeat_n(storage, ranges.len()).chain((shader.dims > 0).then_some(wgpu::BufferBindingType::Uniform));
    let layout_entry = |(binding, ty): (usize, wgpu::BufferBindingType)| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let entries: Vec<wgpu::BindGroupLayoutEntry> = types.enumerate().map(layout_entry).collect();
    let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
    let layout = device.create_bind_group_layout(&descriptor);
    let ranged = |(offset, size): &(u64, u64)| wgpu::BufferBinding {
        buffer: memory,
        offset: *offset,
        size: std::num::NonZeroU64::new(*size),
    };
    let bindings = ranges.iter().map(ranged).chain((shader.dims > 0).then(|| dims.as_entire_buffer_binding()));
    let entries: Vec<wgpu::BindGroupEntry> = bindings
        .enumerate()
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: wgpu::BindingResource::Buffer(buffer),
        })
        .collect();
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&shader.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    // Tasks are counted through the rows of the grid.
    match tasks.is_multiple_of(2) {
        true => pass.dispatch_workgroups(tasks / 2, 2, 1),
        false => pass.dispatch_workgroups(tasks, 1, 1),
    }
}
