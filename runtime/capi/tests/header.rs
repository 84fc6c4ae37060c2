//! The header in the repository is what cbindgen makes of the source.

use std::path::Path;

/// Set `DRUPE_BLESS=1` to write the header instead.
#[test]
fn the_header_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("include/drupe.h");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("valid configuration");
    let mut made = Vec::new();
    cbindgen::generate_with_config(folder, config).expect("valid source").write(&mut made);
    if std::env::var_os("DRUPE_BLESS").is_some() {
        std::fs::write(&path, &made).expect("writable checkout");
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(found == made, "include/drupe.h is not current; run this test with DRUPE_BLESS=1");
}
