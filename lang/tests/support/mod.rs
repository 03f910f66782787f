//! The built-ins that the compiler tests see.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it; a bad signature is a broken test"
)]

use angarium_lang::Source;
use angarium_lang::builtins::{Builtin, Builtins, Signature};
use angarium_lang::bytecode::Program;
use angarium_lang::modules::NoFiles;

/// A few functions and a class.
pub struct Names(Vec<Signature>);

impl Names {
    /// Parses the signatures.
    pub fn new() -> Names {
        let signatures = [
            "Map(keytype: string, valuetype: string): Map",
            "length(value: string|array): number",
            "str_upper(text: string): string",
            "padded(text: string, options?: array): string",
            "array_map(callback: function, array: array): array",
        ];
        Names(
            signatures
                .iter()
                .map(|text| Signature::parse(text).unwrap())
                .collect(),
        )
    }
}

impl Builtins for Names {
    fn lookup(&self, name: &str) -> Option<Builtin> {
        let index = self.0.iter().position(|signature| signature.name == name)? as u32;
        Some(if index == 0 {
            Builtin::Class(0)
        } else {
            Builtin::Function(index)
        })
    }
    fn signature(&self, builtin: Builtin) -> &Signature {
        match builtin {
            Builtin::Function(index) | Builtin::Class(index) => &self.0[index as usize],
        }
    }
    fn is_construct(&self, _builtin: Builtin) -> bool {
        false
    }
    fn static_method(&self, _class: u32, _name: &str) -> Option<u32> {
        None
    }
    fn function_signature(&self, function: u32) -> &Signature {
        &self.0[function as usize]
    }
    fn variables(&self) -> &[(&'static str, bool)] {
        &[("connection", false), ("context", true)]
    }
    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|signature| signature.name).collect()
    }
    fn option_names(&self, builtin: Builtin) -> Option<Vec<&'static str>> {
        (self.signature(builtin).name == "padded").then(|| vec!["fill", "width"])
    }
    fn methods(&self) -> Vec<&'static str> {
        vec!["set", "get", "delete", "write"]
    }
    fn method_options(&self, method: &str, place: usize) -> Option<Vec<&'static str>> {
        (method == "write" && place == 0).then(|| vec!["sync"])
    }
}

/// Compiles a program without other files.
pub fn compile(text: &str) -> Result<(Program, String), String> {
    let source = Source {
        name: "main.hsl",
        path: "main.hsl",
        text: text.as_bytes(),
    };
    match angarium_lang::compile(source, &Names::new(), &NoFiles) {
        Ok(compiled) => {
            let warnings = compiled
                .warnings
                .iter()
                .map(|w| w.render(&compiled.program.sources))
                .collect();
            Ok((compiled.program, warnings))
        }
        Err(rejected) => Err(rejected.render()),
    }
}
