//! The fuzz targets' corpus as a plain test, for each crate that owns targets: what fuzzing has found stays found.

use std::fs;
use std::path::PathBuf;

/// A target's name, and what it does with an input.
type Target<'a> = (&'a str, fn(&[u8]));

/// Gives each target every file of its corpus, which must hold some.
pub(crate) fn decode_every_file(targets: &[Target<'_>]) {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, decode) in targets {
        let folder = corpus.join(name);
        let files =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        for path in paths {
            println!("{}", path.display());
            decode(&fs::read(&path).unwrap());
        }
    }
}
