//! The Lambda function `canary`.

fn main() -> Result<(), shared::Error> {
    shared::task::serve::<canary::Canary>()
}
