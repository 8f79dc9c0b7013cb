//! The settings as people read them.

use super::{DOCS, Settings};

const HEAD: &str = "# Settings

Flags beat the environment, that beats the TOML file, that the defaults. A bare number has the unit given here; durations
also take `500ms`, `6s`, `5m`, `72h`, `3d`, sizes `64KiB`, `4MiB`, `1GiB`. Unknown keys are refused, and all problems are
reported together.

| file key | flag | environment | unit | default | what it does | where the default comes from |
|---|---|---|---|---|---|---|
";

/// All settings as a table in Markdown: the file `SETTINGS.md` of the repository.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (doc, (_, default)) in DOCS.iter().zip(Settings::default().shown()) {
        let default = match default.as_str() {
            "" => "-".to_owned(),
            default => format!("`{default}`"),
        };
        // A process list would show a token, so the command line takes a file that holds it.
        let flag = match doc.field {
            "admin_token" => "admin-token-file".to_owned(),
            _ => doc.flag(),
        };
        let (key, variable, unit, what, source) = (
            doc.key,
            doc.variable(),
            doc.unit,
            doc.text.trim(),
            doc.source,
        );
        text.push_str(&format!(
            "| `{key}` | `--{flag}` | `{variable}` | {unit} | {default} | {what} | {source} |\n"
        ));
    }
    text
}
