//! The Lambda function `get-card`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<get_card::GetCard>()
}
