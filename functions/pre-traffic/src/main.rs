//! The Lambda function `pre-traffic`.

fn main() -> Result<(), shared::Error> {
    shared::task::serve::<pre_traffic::PreTraffic>()
}
