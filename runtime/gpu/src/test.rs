//! A shader's test: one task on known arguments, and what it must give.

use drupe_format::plan::{ArchivedSelfTest, ArchivedShader};
use drupe_format::{DType, test_bytes};
use drupe_runtime::DeviceError;
use wgpu::{BindGroupDescriptor, BindGroupEntry, BindGroupLayout, BufferUsages, ComputePipeline};

use crate::gpu::Gpu;
use crate::memory::{STORAGE, Staging, create, write};
use crate::runner::number_bytes;

/// Runs the shader's test, if it has one.
///
/// # Errors
/// [`DeviceError::Wrong`] when the shader computes something else; others when the device fails.
pub(crate) fn run_test(
    gpu: &Gpu,
    shader: &ArchivedShader,
    pipeline: &ComputePipeline,
    layout: &BindGroupLayout,
) -> Result<(), DeviceError> {
    let Some(test) = shader.test.as_ref() else {
        return Ok(());
    };
    let mut buffers = Vec::new();
    for (index, (size, &dtype)) in test.sizes.iter().zip(test.dtypes.iter()).enumerate() {
        let size = size.to_native();
        let buffer = create(gpu, "test argument", size, STORAGE)?;
        write(gpu, &buffer, 0, &test_bytes(index as u32, dtype, size as usize));
        buffers.push(buffer);
    }
    if shader.dims > 0 {
        let numbers = number_bytes(test.dims.iter().map(|dim| dim.to_native()));
        let buffer = create(gpu, "test numbers", numbers.len() as u64, BufferUsages::UNIFORM | BufferUsages::COPY_DST)?;
        write(gpu, &buffer, 0, &numbers);
        buffers.push(buffer);
    }
    let device = &gpu.shared.device;
    let entries: Vec<BindGroupEntry> = (0..)
        .zip(&buffers)
        .map(|(binding, buffer)| BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let group = device.create_bind_group(&BindGroupDescriptor { label: None, layout, entries: &entries });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
    gpu.wait(gpu.submit(Some(encoder.finish())))?;
    let mut staging = Staging::default();
    for (argument, buffer) in buffers.iter().take(test.sizes.len()).enumerate() {
        if test.expected.iter().any(|value| value.argument == argument as u32) {
            let mut found = vec![0; test.sizes[argument].to_native() as usize];
            staging.reserve(found.len() as u64);
            staging.read(gpu, device.create_command_encoder(&Default::default()), vec![(buffer, 0, &mut found)])?;
            if !all_right(test, argument as u32, &found) {
                return Err(DeviceError::Wrong {
                    shader: shader.name.as_str().into(),
                    family: test.family.as_str().into(),
                    driver: gpu.full_name(),
                });
            }
        }
    }
    Ok(())
}

fn all_right(test: &ArchivedSelfTest, argument: u32, found: &[u8]) -> bool {
    let dtype = test.dtypes[argument as usize];
    let tolerance = test.tolerance.to_native();
    test.expected.iter().filter(|value| value.argument == argument).all(|value| {
        let start = value.offset.to_native() as usize;
        is_right(dtype, &found[start..start + dtype.size()], value.bits.to_native(), tolerance)
    })
}

/// Whether the element in `found` is the one with these bits, as the plan's `SelfTest` says.
fn is_right(dtype: DType, found: &[u8], bits: u32, tolerance: f32) -> bool {
    let mut word = [0; 8];
    word[..found.len()].copy_from_slice(found);
    let word = u64::from_le_bytes(word);
    let mask = u64::MAX >> (64 - 8 * dtype.size().min(4));
    let float: fn(u32) -> f32 = match dtype {
        DType::F32 => f32::from_bits,
        DType::BF16 => |bits| f32::from_bits(bits << 16),
        DType::F16 => f32_of_half,
        DType::F64
        | DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64
        | DType::Bool => return word & mask == u64::from(bits) & mask,
    };
    let (found, expected) = (float((word & mask) as u32), float(bits & mask as u32));
    found == expected
        || (found.is_nan() && expected.is_nan())
        || (expected.is_finite() && (found - expected).abs() <= tolerance * expected.abs().max(1.0))
}

fn f32_of_half(bits: u32) -> f32 {
    let (exponent, mantissa) = (bits >> 10 & 0x1F, bits & 0x3FF);
    let magnitude = match exponent {
        0 => mantissa as f32 * f32::from_bits((127 - 24) << 23),
        0x1F => f32::from_bits(0x7F80_0000 | mantissa << 13),
        exponent => f32::from_bits((exponent + 112) << 23 | mantissa << 13),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_compared_by_type() {
        let half = |bits: u16, expected: u32, tolerance| is_right(DType::F16, &bits.to_le_bytes(), expected, tolerance);
        assert!(half(0x3C00, 0x3C00, 0.0) && !half(0x3C01, 0x3C00, 0.0) && half(0x3C01, 0x3C00, 0.01));
        assert!(half(0x8000, 0, 0.0) && half(0x7E00, 0x7E01, 0.0) && !half(0x7C00, 0xFC00, 0.5));
        assert_eq!(
            (f32_of_half(1), f32_of_half(0xC000), f32_of_half(0x7C00)),
            (2.0_f32.powi(-24), -2.0, f32::INFINITY)
        );
        assert!(is_right(DType::F32, &1.5_f32.to_le_bytes(), 1.5_f32.to_bits(), 0.0));
        assert!(!is_right(DType::F32, &f32::NAN.to_le_bytes(), 1.5_f32.to_bits(), 1.0));
        assert!(is_right(DType::I8, &[0xFF], 0xFFFF_FFFF, 0.0) && !is_right(DType::I8, &[0xFE], 0xFFFF_FFFF, 9.0));
        assert!(
            is_right(DType::I64, &5_i64.to_le_bytes(), 5, 0.0) && !is_right(DType::I64, &6_i64.to_le_bytes(), 5, 9.0)
        );
    }
}
