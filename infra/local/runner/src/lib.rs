//! The registry of all functions, used by the local runner, the fuzzer and the tests.

use shared::http::Endpoint;
use shared::task::Task;
use shared::worker::Worker;

/// A visitor that is called with every function.
pub trait Visitor {
    /// Visits an endpoint.
    fn endpoint<E: Endpoint>(&mut self);
    /// Visits a worker.
    fn worker<W: Worker>(&mut self);
    /// Visits a task. Most visitors need none: a task takes no input from outside.
    fn task<T: Task>(&mut self) {}
}

/// Visits every function. `build.rs` writes a line for each crate in `functions`. A new crate must also be a
/// dependency in `Cargo.toml`; otherwise its line does not compile, and the error names the crate.
pub fn visit(visitor: &mut impl Visitor) {
    include!(concat!(env!("OUT_DIR"), "/visits.rs"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use shared::worker::QueueMessage;

    use super::*;

    const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../functions");

    struct Names(BTreeSet<String>);

    impl Names {
        /// Adds the function, whose `main` must serve this type.
        fn add<T>(&mut self, name: &str, serve: &str) {
            let path = Path::new(FUNCTIONS).join(name).join("src/main.rs");
            let main = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let call = format!("{serve}::<{}>()", std::any::type_name::<T>());
            assert!(main.contains(&call), "functions/{name}/src/main.rs must call {call}");
            assert!(self.0.insert(name.to_owned()), "{name} is visited twice");
        }
    }

    impl Visitor for Names {
        fn endpoint<E: Endpoint>(&mut self) {
            self.add::<E>(E::NAME, "shared::http::serve");
        }

        fn worker<W: Worker>(&mut self) {
            self.add::<W>(W::NAME, "shared::worker::serve");
            assert_eq!(format!("{}-worker", W::Message::KIND), W::NAME, "the kind of its messages");
        }

        fn task<T: Task>(&mut self) {
            self.add::<T>(T::NAME, "shared::task::serve");
        }
    }

    #[test]
    fn every_crate_in_functions_is_visited_and_serves_the_visited_type() {
        let crates = fs::read_dir(FUNCTIONS).unwrap().map(|entry| entry.unwrap().path());
        let crates = crates.filter(|path| path.join("Cargo.toml").exists());
        let crates: BTreeSet<_> = crates.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        let mut names = Names(BTreeSet::new());
        visit(&mut names);
        assert_eq!(names.0, crates, "visited, and in functions");
    }
}
