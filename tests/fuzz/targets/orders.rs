//! Passes inputs from libFuzzer to [`fuzz::orders`].
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| -> Corpus {
    let came_far = fuzz::orders::run(input).is_some_and(|outcome| outcome.came_far);
    if came_far { Corpus::Keep } else { Corpus::Reject }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate::mutate(data, size, max_size, seed, fuzzer_mutate)
});
