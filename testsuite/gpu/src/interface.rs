//! What a SPIR-V module says of its entry point and bindings (SPIR-V 1.6, sections 2.3 and 3).

use crate::Error;
use std::collections::BTreeMap;

const MAGIC: u32 = 0x0723_0203;
const OP_ENTRY_POINT: u32 = 15;
const OP_CAPABILITY: u32 = 17;
const OP_VARIABLE: u32 = 59;
const OP_DECORATE: u32 = 71;
const DECORATION_BINDING: u32 = 33;
const CLASS_UNIFORM: u32 = 2;
const CLASS_STORAGE_BUFFER: u32 = 12;
const MODEL_COMPUTE: u32 = 5;
const COOPERATIVE_MATRIX_KHR: u32 = 6022;

/// The number of storage buffers, and whether a uniform buffer follows them.
pub(crate) fn bindings(shader: &str, spirv: &[u32]) -> Result<(u32, bool), Error> {
    let (mut binding_of, mut class_of) = (BTreeMap::new(), BTreeMap::new());
    for (operation, operands) in instructions(shader, spirv)? {
        match (operation, operands) {
            (OP_DECORATE, [id, DECORATION_BINDING, binding, ..]) => drop(binding_of.insert(*id, *binding)),
            (OP_VARIABLE, [_, id, class, ..]) => drop(class_of.insert(*id, *class)),
            _ => {}
        }
    }
    let classes: BTreeMap<u32, u32> =
        binding_of.iter().filter_map(|(id, binding)| Some((*binding, *class_of.get(id)?))).collect();
    let buffers = classes.values().take_while(|class| **class == CLASS_STORAGE_BUFFER).count();
    let uniform = classes.values().nth(buffers) == Some(&CLASS_UNIFORM);
    let dense = classes.keys().copied().eq(0..classes.len() as u32);
    if !dense || classes.len() != buffers + usize::from(uniform) || binding_of.len() != classes.len() {
        let found = format!("bindings {binding_of:?} of storage classes {class_of:?}, by id");
        return Err(Error::Bindings { shader: shader.into(), found });
    }
    Ok((buffers as u32, uniform))
}

/// Whether the module has matrices of subgroups.
pub(crate) fn multiplies_tiles(shader: &str, spirv: &[u32]) -> Result<bool, Error> {
    let instructions = instructions(shader, spirv)?;
    Ok(instructions.contains(&(OP_CAPABILITY, &[COOPERATIVE_MATRIX_KHR][..])))
}

/// The name of the first compute entry point.
pub(crate) fn entry_point(shader: &str, spirv: &[u32]) -> Result<String, Error> {
    let found =
        instructions(shader, spirv)?.into_iter().find_map(|(operation, operands)| match (operation, operands) {
            (OP_ENTRY_POINT, [MODEL_COMPUTE, _, text @ ..]) => Some(text),
            _ => None,
        });
    let text = found.ok_or_else(|| Error::NotSpirv { shader: shader.into() })?;
    let bytes = text.iter().flat_map(|word| word.to_le_bytes()).take_while(|byte| *byte != 0).collect();
    String::from_utf8(bytes).map_err(|_| Error::NotSpirv { shader: shader.into() })
}

/// Every instruction: its number, and its operands.
fn instructions<'a>(shader: &str, spirv: &'a [u32]) -> Result<Vec<(u32, &'a [u32])>, Error> {
    let wrong = || Error::NotSpirv { shader: shader.into() };
    let [MAGIC, _, _, _, _, rest @ ..] = spirv else { return Err(wrong()) };
    let (mut rest, mut found) = (rest, Vec::new());
    while let [first, ..] = rest {
        let length = (first >> 16) as usize;
        if length == 0 || length > rest.len() {
            return Err(wrong());
        }
        let (instruction, after) = rest.split_at(length);
        found.push((first & 0xffff, &instruction[1..]));
        rest = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_spirv_is_an_error() {
        for words in [&[][..], &[MAGIC], &[1, 2, 3, 4, 5, 6], &[MAGIC, 0, 0, 0, 0, 0], &[MAGIC, 0, 0, 0, 0, 9 << 16]] {
            assert!(matches!(entry_point("x", words), Err(Error::NotSpirv { .. })), "{words:?}");
        }
        assert!(matches!(entry_point("x", &[MAGIC, 0, 0, 0, 0]), Err(Error::NotSpirv { .. })));
    }

    #[test]
    fn bindings_without_order_are_an_error() {
        let module = [MAGIC, 0, 0, 0, 0, 4 << 16 | 71, 7, DECORATION_BINDING, 1, 4 << 16 | 59, 1, 7, 12];
        assert!(matches!(bindings("x", &module), Err(Error::Bindings { .. })));
        let module = [MAGIC, 0, 0, 0, 0, 4 << 16 | 71, 7, DECORATION_BINDING, 0, 4 << 16 | 59, 1, 7, 12];
        assert_eq!(bindings("x", &module).unwrap(), (1, false));
    }
}
