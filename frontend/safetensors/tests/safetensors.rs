//! Folders written here: several files with an index, and damaged and hostile ones.

use drupe_language::Weights;
use drupe_safetensors::{Folder, Options, import, read_file};
use std::path::Path;
use tempfile::TempDir;

/// A file with `tensors`: names, types, shapes, offsets as JSON, and its data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A file with the f32 tensor `name` of two elements.
fn of_one(name: &str) -> Vec<u8> {
    file(&format!(r#"{{"{name}": {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}}}"#), &[0; 8])
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn refused(path: &Path) -> String {
    Folder::open(path).err().expect("it must be refused").to_string()
}

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn an_index_says_which_files_count() {
    let index = br#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    let files: &[(&str, &[u8])] =
        &[(INDEX, index), ("1.safetensors", &of_one("a")), ("2.safetensors", &of_one("b")), ("3.safetensors", b"")];
    let found = Folder::open(folder(files).path()).unwrap();
    assert_eq!(found.names(), ["a", "b"]);
    assert!(found.file("b").ends_with("/2.safetensors"));
}

#[test]
fn an_index_that_lies_is_refused() {
    let with = |index: &str| {
        let files: &[(&str, &[u8])] = &[(INDEX, index.as_bytes()), ("1.safetensors", &of_one("a"))];
        refused(folder(files).path())
    };
    assert!(
        with(r#"{"weight_map": {"b": "1.safetensors"}}"#).contains("\"b\" is in \"1.safetensors\", which does not")
    );
    assert!(with(r#"{"weight_map": {"a": "../1.safetensors"}}"#).contains("is not a file of the folder"));
    assert!(with(r#"{"weight_map": {"a": 1}}"#).contains("1 is not the name of a file"));
    assert!(with(r#"{"weight_map": []}"#).contains("`weight_map` is missing or no object"));
    assert!(with("[").contains("not JSON"));
    assert!(with(&"[".repeat(100_000)).contains("not JSON"));
}

#[test]
fn tensors_in_two_files_are_refused() {
    let files: &[(&str, &[u8])] = &[("1.safetensors", &of_one("a")), ("2.safetensors", &of_one("a"))];
    assert!(refused(folder(files).path()).contains("/1.safetensors too"));
    assert!(refused(folder(&[]).path()).contains("no .safetensors file in the folder"));
}

#[test]
fn damaged_files_are_refused() {
    let whole = of_one("a");
    for end in 0..whole.len() {
        assert!(refused(folder(&[("m.safetensors", &whole[..end])]).path()).contains("/m.safetensors"), "{end}");
    }
    let tensor = |shape: &str, offsets: &str| {
        let header = format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#);
        refused(folder(&[("m.safetensors", &file(&header, &[0; 8]))]).path())
    };
    for (shape, offsets) in
        [("[3]", "[0, 8]"), ("[2]", "[8, 0]"), ("[2]", "[4, 12]"), ("[4294967296, 4294967296]", "[0, 8]")]
    {
        assert!(tensor(shape, offsets).contains("not a complete safetensors file"), "{shape} {offsets}");
    }
    let overlapping = r#"{"a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}"#;
    assert!(refused(folder(&[("m.safetensors", &file(overlapping, &[0; 8]))]).path()).contains("not a complete"));
    let absurd = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(refused(folder(&[("m.safetensors", &absurd)]).path()).contains("not a complete"));
}

#[test]
fn types_that_no_constant_has_are_named() {
    let header = r#"{"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}"#;
    let eight = folder(&[("m.safetensors", &file(header, &[0; 8]))]);
    let error = read_file(&eight.path().join("m.safetensors")).unwrap_err().to_string();
    assert!(error.contains("the tensor \"a\" has elements of type F8_E4M3"), "{error}");
}

#[test]
fn configurations_are_read_as_data() {
    let with = |config: &[u8]| {
        let files: &[(&str, &[u8])] = &[("config.json", config), ("m.safetensors", &of_one("a"))];
        import(folder(files).path(), &Options::default()).unwrap_err().to_string()
    };
    assert!(with(b"{}").contains("neither `architectures` nor `model_type`"));
    assert!(with(b"[1]").contains("not a JSON object"));
    assert!(with("{\"a\":".repeat(100_000).as_bytes()).contains("not JSON"));
    assert!(with(br#"{"model_type": "mamba"}"#).contains("the architecture \"mamba\""));
    let files: &[(&str, &[u8])] = &[("m.safetensors", &of_one("a"))];
    assert!(import(folder(files).path(), &Options::default()).unwrap_err().to_string().contains("config.json"));
}
