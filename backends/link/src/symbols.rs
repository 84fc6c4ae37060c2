//! Which offset a symbol stands for.

use crate::LinkError;
use crate::layout::Layout;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
use std::collections::BTreeMap;

type Starts = [Vec<(usize, u64)>];

/// The offsets of the symbols that objects export.
pub(crate) fn globals<'a>(files: &'a [object::File], layout: &Layout) -> Result<BTreeMap<&'a str, u64>, LinkError> {
    let mut globals = BTreeMap::new();
    for (object, file) in files.iter().enumerate() {
        for symbol in file.symbols().filter(|symbol| symbol.is_global() && symbol.is_definition()) {
            let name = symbol.name().map_err(|source| LinkError::Read { object, source })?;
            let Some(offset) = offset_of(object, &symbol, &layout.starts) else { continue };
            if globals.insert(name, offset).is_some() {
                return Err(LinkError::Duplicate { object, symbol: name.into() });
            }
        }
    }
    Ok(globals)
}

/// The name and the offset of what a relocation refers to.
pub(crate) fn target(
    object: usize,
    file: &object::File,
    target: RelocationTarget,
    starts: &Starts,
    globals: &BTreeMap<&str, u64>,
) -> Result<(String, u64), LinkError> {
    let read = |source| LinkError::Read { object, source };
    let RelocationTarget::Symbol(index) = target else {
        return Err(LinkError::Undefined { object, symbol: "(no symbol)".into() });
    };
    let symbol = file.symbol_by_index(index).map_err(read)?;
    let mut name = symbol.name().map_err(read)?;
    if let (true, Some(section)) = (name.is_empty(), symbol.section_index()) {
        name = file.section_by_index(section).and_then(|section| section.name()).map_err(read)?;
    }
    match offset_of(object, &symbol, starts).or_else(|| globals.get(name).copied()) {
        Some(offset) => Ok((name.into(), offset)),
        None => Err(LinkError::Undefined { object, symbol: name.into() }),
    }
}

/// Where `symbol` lies, if it is defined in a section of the image.
fn offset_of<'a>(object: usize, symbol: &impl ObjectSymbol<'a>, starts: &Starts) -> Option<u64> {
    let section = symbol.section_index()?.0;
    let found = starts[object].binary_search_by_key(&section, |(index, _)| *index).ok()?;
    Some(starts[object][found].1.wrapping_add(symbol.address()))
}
