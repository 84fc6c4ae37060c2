//! Pictures as model inputs: scaled to the input's size, normalised, laid out.
//!
//! `value = (pixel - mean) / std` for every channel, pixels counting 0 to 255. The picture is scaled to the
//! input's height and width (bilinear with antialiasing, aspect not kept); where those are symbolic it keeps its
//! own size, rounded to one that the input takes.

use drupe_ir::{DType, Diagnostic, TensorData};
use image::imageops::FilterType;
use std::path::Path;

/// Where the channels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Layout {
    /// Batch, channels, height, width.
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// How pixels become numbers.
#[derive(Clone, Debug)]
pub(crate) struct Preprocessing {
    /// Subtracted, one a channel or one for all.
    pub mean: Vec<f32>,
    /// Divided by, one a channel or one for all.
    pub std: Vec<f32>,
    /// Forced layout; told from the shape if `None`.
    pub layout: Option<Layout>,
}

/// An extent of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A number.
    Fixed(usize),
    /// Any positive multiple of `factor`, plus `constant`.
    Free {
        /// What it must be a multiple of.
        factor: i64,
        /// What is added.
        constant: i64,
    },
}

impl Extent {
    fn fixed(self) -> Option<usize> {
        match self {
            Extent::Fixed(extent) => Some(extent),
            Extent::Free { .. } => None,
        }
    }

    /// The possible extent that is next to `size`.
    fn nearest(self, size: u32) -> usize {
        match self {
            Extent::Fixed(extent) => extent,
            Extent::Free { factor, constant } => {
                let times = (i64::from(size) - constant + factor / 2).div_euclid(factor).max(1);
                usize::try_from(times * factor + constant).unwrap_or(1)
            }
        }
    }
}

/// Whether files with this extension are pictures.
pub(crate) fn is_picture(extension: &str) -> bool {
    matches!(extension, "png" | "jpg" | "jpeg")
}

/// The picture at `path` as a tensor of `dtype` and `shape`.
pub(crate) fn read(path: &Path, dtype: DType, shape: &[Extent], how: &Preprocessing) -> Result<TensorData, Diagnostic> {
    let fail = |what: String| Diagnostic::new("picture", format!("{}: {what}", path.display()));
    let layout = how.layout.or_else(|| guess_layout(shape)).ok_or_else(|| {
        fail(format!("an input of shape {} takes no picture", shown(shape)))
            .help("a picture needs 4 dimensions of which one has 1 or 3 channels; say which with --layout")
    })?;
    let (channels, height, width) = match (layout, shape) {
        (Layout::Nchw, [_, channels, height, width]) => (*channels, *height, *width),
        (Layout::Nhwc, [_, height, width, channels]) => (*channels, *height, *width),
        _ => return Err(fail(format!("an input of shape {} takes no picture: 4 dimensions needed", shown(shape)))),
    };
    let channels = channels.fixed().unwrap_or(3);
    if !matches!(channels, 1 | 3) || shape[0].fixed().is_some_and(|batch| batch != 1) {
        return Err(fail(format!("one picture has 1 or 3 channels and batch 1, the input {}", shown(shape))));
    }
    let picture = image::open(path).map_err(|error| fail(error.to_string()))?;
    let (height, width) = (height.nearest(picture.height()), width.nearest(picture.width()));
    let scaled = picture.resize_exact(width as u32, height as u32, FilterType::Triangle);
    let pixels = if channels == 1 { scaled.to_luma8().into_raw() } else { scaled.to_rgb8().into_raw() };
    let (mean, std) = (per_channel(&how.mean, channels), per_channel(&how.std, channels));
    let (Some(mean), Some(std)) = (mean, std) else {
        return Err(fail(format!("--mean and --std take one number, or one for each of {channels} channels")));
    };
    let value =
        |pixel: usize, channel: usize| (f32::from(pixels[pixel * channels + channel]) - mean[channel]) / std[channel];
    let area = height * width;
    let (values, shape): (Vec<f32>, Vec<usize>) = match layout {
        Layout::Nchw => {
            let planes = (0..channels).flat_map(|channel| (0..area).map(move |pixel| (pixel, channel)));
            (planes.map(|(pixel, channel)| value(pixel, channel)).collect(), vec![1, channels, height, width])
        }
        Layout::Nhwc => {
            let rows = (0..area).flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel)));
            (rows.map(|(pixel, channel)| value(pixel, channel)).collect(), vec![1, height, width, channels])
        }
    };
    let bytes = match dtype {
        DType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
        DType::U8 => values.iter().map(|value| value.round() as u8).collect(),
        DType::I8 => values.iter().map(|value| value.round() as i8 as u8).collect(),
        other => return Err(fail(format!("an input of {other} takes no picture; give it as .npy"))),
    };
    TensorData::from_bytes(dtype, shape, bytes).map_err(|error| fail(error.to_string()))
}

fn guess_layout(shape: &[Extent]) -> Option<Layout> {
    match shape {
        [_, Extent::Fixed(3), _, _] => Some(Layout::Nchw),
        [_, _, _, Extent::Fixed(3)] => Some(Layout::Nhwc),
        [_, Extent::Fixed(1), _, _] => Some(Layout::Nchw),
        [_, _, _, Extent::Fixed(1)] => Some(Layout::Nhwc),
        _ => None,
    }
}

fn per_channel(given: &[f32], channels: usize) -> Option<Vec<f32>> {
    match given {
        [one] => Some(vec![*one; channels]),
        many => (many.len() == channels).then(|| many.to_vec()),
    }
}

fn shown(shape: &[Extent]) -> String {
    let extents: Vec<String> =
        shape.iter().map(|dim| dim.fixed().map_or("?".into(), |extent| extent.to_string())).collect();
    format!("[{}]", extents.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Extent = Extent::Free { factor: 1, constant: 0 };

    fn picture() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.png");
        image::RgbImage::from_raw(2, 1, vec![255, 0, 0, 0, 255, 10]).unwrap().save(&path).unwrap();
        (folder, path)
    }

    #[test]
    fn pixels_are_normalised_and_laid_out() {
        let (_folder, path) = picture();
        let how = Preprocessing { mean: vec![5.0], std: vec![10.0], layout: None };
        let planes = read(&path, DType::F32, &[Extent::Fixed(1), Extent::Fixed(3), FREE, FREE], &how).unwrap();
        assert_eq!(planes.shape, [1, 3, 1, 2]);
        assert_eq!(planes.to_f32().unwrap(), [25.0, -0.5, -0.5, 25.0, -0.5, 0.5]);
        let rows =
            read(&path, DType::F32, &[FREE, Extent::Fixed(1), Extent::Fixed(2), Extent::Fixed(3)], &how).unwrap();
        assert_eq!(rows.to_f32().unwrap(), [25.0, -0.5, -0.5, -0.5, 25.0, 0.5]);
        let scaled =
            read(&path, DType::U8, &[Extent::Fixed(1), Extent::Fixed(4), Extent::Fixed(6), Extent::Fixed(3)], &how)
                .unwrap();
        assert_eq!(scaled.shape, [1, 4, 6, 3]);
    }

    #[test]
    fn inputs_that_take_no_picture_say_so() {
        let (_folder, path) = picture();
        let how = Preprocessing { mean: vec![0.0, 1.0], std: vec![1.0], layout: None };
        let error = |shape: &[Extent]| read(&path, DType::F32, shape, &how).unwrap_err().to_string();
        assert!(error(&[Extent::Fixed(1), Extent::Fixed(10)]).contains("takes no picture"));
        assert!(error(&[Extent::Fixed(1), Extent::Fixed(3), FREE, FREE]).contains("each of 3 channels"));
        assert!(error(&[Extent::Fixed(2), Extent::Fixed(3), FREE, FREE]).contains("batch 1"));
    }

    #[test]
    fn sizes_are_rounded_to_what_the_input_takes() {
        let extent = Extent::Free { factor: 32, constant: 0 };
        assert_eq!([1, 47, 48, 100, 320].map(|size| extent.nearest(size)), [32, 32, 64, 96, 320]);
        assert_eq!(Extent::Free { factor: 2, constant: 1 }.nearest(8), 9);
    }
}
