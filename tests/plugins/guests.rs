//! Components made in the test: core modules in WebAssembly text, wrapped against `wit/`. They do
//! by hand what no tool chain would let a guest do.

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::root;

pub(super) const REVIEW_DEPLOY: &str = "dunnage:admission/on-deploy@0.1.0#review";
pub(super) const REVIEW_INVOKE: &str = "dunnage:admission/on-invoke@0.1.0#review";
pub(super) const PROCESS: &str = "dunnage:response/post-process@0.1.0#process";
pub(super) const LANGUAGES: &str = "dunnage:build/dockerfile@0.1.0#languages";
pub(super) const GENERATE: &str = "dunnage:build/dockerfile@0.1.0#generate";
pub(super) const DESCRIBE: &str = "dunnage:plugin/guest@0.1.0#describe";
pub(super) const CHECK_SETTINGS: &str = "dunnage:plugin/guest@0.1.0#check-settings";

/// Begins after what guests use as scratch.
const DATA_START: u32 = 1024;
const HEAP_START: u32 = 12 * 65536;

/// What stands in a guest's memory from the start.
#[derive(Default)]
pub(super) struct Data {
    bytes: Vec<u8>,
}

impl Data {
    /// Pointer and length, as a string or a list of bytes has them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> [u32; 2] {
        let at = self.end();
        self.bytes.extend_from_slice(bytes);
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        [at, u32::try_from(bytes.len()).unwrap()]
    }

    pub(super) fn text(&mut self, text: &str) -> [u32; 2] {
        self.bytes(text.as_bytes())
    }

    /// The place of these words.
    pub(super) fn words(&mut self, words: &[u32]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(&bytes)[0]
    }

    /// Pointer and length of a list whose items are words already.
    pub(super) fn list(&mut self, items: &[Vec<u32>]) -> [u32; 2] {
        let words = items.concat();
        [self.words(&words), u32::try_from(items.len()).unwrap()]
    }

    pub(super) fn texts(&mut self, texts: &[&str]) -> [u32; 2] {
        let items: Vec<Vec<u32>> = texts.iter().map(|text| self.text(text).to_vec()).collect();
        self.list(&items)
    }

    pub(super) fn pairs(&mut self, pairs: &[(&str, &str)]) -> [u32; 2] {
        let items: Vec<Vec<u32>> =
            pairs.iter().map(|(name, value)| [self.text(name), self.text(value)].concat()).collect();
        self.list(&items)
    }

    /// A finding without path and hint.
    pub(super) fn finding(&mut self, rule: &str, message: &str) -> Vec<u32> {
        let mut words = [self.text(rule), self.text(message)].concat();
        words.extend([0; 6]);
        words
    }

    pub(super) fn description(&mut self, version: &str, schema: Option<&str>) -> u32 {
        let mut words = [self.text("test"), self.text(version), self.text("A guest of the tests.")].concat();
        words.push(u32::from(schema.is_some()));
        words.extend(self.text(schema.unwrap_or_default()));
        words.extend([0, 0]);
        self.words(&words)
    }

    pub(super) fn deny(&mut self, findings: &[(&str, &str)]) -> u32 {
        let items: Vec<Vec<u32>> = findings.iter().map(|(rule, text)| self.finding(rule, text)).collect();
        let [at, count] = self.list(&items);
        self.words(&[0, 1, at, count])
    }

    pub(super) fn abstain(&mut self) -> u32 {
        self.words(&[0, 2, 0, 0])
    }

    /// `memory-mib` and `timeout-ms`, where set.
    pub(super) fn allow(
        &mut self,
        warnings: &[(&str, &str)],
        memory: Option<u32>,
        timeout: Option<u32>,
    ) -> u32 {
        let items: Vec<Vec<u32>> = warnings.iter().map(|(rule, text)| self.finding(rule, text)).collect();
        let mut words = vec![0, 0];
        words.extend(self.list(&items));
        words.push(u32::from(memory.is_some() || timeout.is_some()));
        words.extend([u32::from(memory.is_some()), memory.unwrap_or(0), 0, 0]);
        words.extend([u32::from(timeout.is_some()), timeout.unwrap_or(0), 0, 0]);
        words.extend(self.finding("cap", "Capped."));
        self.words(&words)
    }

    pub(super) fn edit(&mut self, edit: &Edit) -> u32 {
        let mut words = vec![0, 1, edit.status.map_or(0, |status| 1 | u32::from(status) << 16)];
        words.extend(self.texts(edit.remove));
        words.extend(self.pairs(edit.set));
        words.push(u32::from(edit.body.is_some()));
        words.extend(self.bytes(edit.body.unwrap_or_default()));
        self.words(&words)
    }

    fn end(&self) -> u32 {
        DATA_START + u32::try_from(self.bytes.len()).unwrap()
    }
}

#[derive(Default)]
pub(super) struct Edit {
    pub(super) status: Option<u16>,
    pub(super) remove: &'static [&'static str],
    pub(super) set: &'static [(&'static str, &'static str)],
    pub(super) body: Option<&'static [u8]>,
}

/// A guest under construction. `describe` and `check-settings` are good unless replaced.
pub(super) struct Guest {
    pub(super) data: Data,
    world: &'static str,
    functions: Vec<(String, String)>,
    imports: &'static str,
    more: String,
    memory: &'static str,
}

impl Guest {
    pub(super) fn new(world: &'static str) -> Guest {
        let mut data = Data::default();
        let description = data.description("1.2.3", None);
        let accepted = data.words(&[0, 0, 0]);
        let (functions, more) = (Vec::new(), String::new());
        let guest = Guest { data, world, functions, imports: "", more, memory: "32" };
        guest
            .function(DESCRIBE, &format!("(result i32) (i32.const {description})"))
            .function(CHECK_SETTINGS, &format!("(param i32 i32) (result i32) (i32.const {accepted})"))
    }

    /// A policy at calls whose review is this code; its parameters are in memory at local 0.
    pub(super) fn on_invoke(code: &str) -> Guest {
        Guest::new("invoke-policy").function(REVIEW_INVOKE, &format!("(param i32) (result i32) {code}"))
    }

    /// An export's signature and code, in place of one of that name before.
    pub(super) fn function(mut self, name: &str, code: &str) -> Guest {
        self.functions.retain(|(other, _)| other != name);
        self.functions.push((name.to_owned(), code.to_owned()));
        self
    }

    pub(super) fn answers(self, name: &str, at: u32) -> Guest {
        let parameters = if name == LANGUAGES { "(param i32 i32)" } else { "(param i32)" };
        self.function(name, &format!("{parameters} (result i32) (i32.const {at})"))
    }

    /// Fields of the module besides.
    pub(super) fn with(mut self, more: &str) -> Guest {
        self.more.push_str(more);
        self
    }

    pub(super) fn imports(mut self, imports: &'static str) -> Guest {
        self.imports = imports;
        self
    }

    pub(super) fn memory(mut self, pages: &'static str) -> Guest {
        self.memory = pages;
        self
    }

    pub(super) fn build(&self) -> Vec<u8> {
        self.build_against(&root().join("wit"))
    }

    pub(super) fn build_against(&self, wit: &Path) -> Vec<u8> {
        let mut module = self.module();
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(wit).unwrap();
        let world = resolve.select_world(&[package], Some(self.world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    pub(super) fn module(&self) -> Vec<u8> {
        let functions: String = self
            .functions
            .iter()
            .map(|(name, code)| format!("(func (export \"{name}\") {code})\n"))
            .collect();
        let data: String = self.data.bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").unwrap();
            text
        });
        let text = format!(
            r#"(module
                (import "dunnage:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32)))
                {imports}
                (memory (export "memory") {memory})
                (global $heap (mut i32) (i32.const {HEAP_START}))
                (data (i32.const {DATA_START}) "{data}")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                    (global.get $heap)
                    (global.set $heap (i32.add (global.get $heap) (local.get 3))))
                {functions}
                {more})"#,
            imports = self.imports,
            memory = self.memory,
            more = self.more,
        );
        wat::parse_str(text).unwrap()
    }
}

/// `wit/` with one text replaced by another in every file.
pub(super) fn altered_wit(from: &str, to: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut folders = vec![root().join("wit")];
    while let Some(folder) = folders.pop() {
        let target = copy.path().join(folder.strip_prefix(root().join("wit")).unwrap());
        std::fs::create_dir_all(&target).unwrap();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let text = std::fs::read_to_string(entry.path()).unwrap().replace(from, to);
                std::fs::write(target.join(entry.file_name()), text).unwrap();
            }
        }
    }
    copy
}

/// A policy at calls that waits for a minute on a clock of WASI, using no CPU at all.
pub(super) fn sleeper() -> Vec<u8> {
    let clock = "import wasi:clocks/monotonic-clock@0.2.0;";
    let wit = altered_wit("world base {", &format!("world base {{ {clock}"));
    let packages = [
        ("io", "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }"),
        (
            "clocks",
            "package wasi:clocks@0.2.0; interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                subscribe-duration: func(when: u64) -> pollable;
            }",
        ),
    ];
    for (name, text) in packages {
        let folder = wit.path().join("deps").join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("package.wit"), text).unwrap();
    }
    let sleep = "(call $block (call $subscribe (i64.const 60000000000))) unreachable";
    Guest::on_invoke(sleep)
        .imports(
            r#"(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
            (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
                (func $subscribe (param i64) (result i32)))"#,
        )
        .build_against(wit.path())
}
