//! The Lambda function `bind-card`.

fn main() -> Result<(), shared::Error> {
    shared::http::serve::<bind_card::BindCard>()
}
