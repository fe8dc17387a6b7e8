use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_parse(text: &str, expected: Result<i64, DecimalError>) {
    assert_eq!(text.parse::<Nano>().map(Nano::get), expected, "{text}");
}

#[test]
fn amounts_are_read_exactly_or_refused() {
    check_parse("0.017312000", Ok(17_312_000));
    check_parse("5", Ok(5_000_000_000));
    check_parse("-0.000000001", Ok(-1));
    check_parse("9223372036.854775807", Ok(i64::MAX));
    check_parse("0.0000000010", Ok(1));
    check_parse("9223372036.854775808", Err(DecimalError::OutOfRange));
    check_parse("0.0000000001", Err(DecimalError::TooFine));
    for text in ["", "-", ".5", "5.", "1e3", "+1", "1,000", " 1", "1.2.3", "٣", "NaN", "0x1", "--1", "1.-5"] {
        check_parse(text, Err(DecimalError::NotADecimal));
    }
}

#[test]
fn prices_per_million_become_integers_and_say_when_they_were_rounded() {
    assert_eq!(Pico::per_million("2"), Ok((Pico(2_000_000), Exactness::Exact)));
    assert_eq!(Pico::per_million("0.0028"), Ok((Pico(2_800), Exactness::Exact)));
    assert_eq!(Pico::per_million("0.0000025"), Ok((Pico(2), Exactness::Rounded)), "half goes to even");
    assert_eq!(Pico::per_million("0.0000035"), Ok((Pico(4), Exactness::Rounded)));
    assert_eq!(Pico::per_million("0.00000251"), Ok((Pico(3), Exactness::Rounded)));
    assert_eq!(Pico::per_thousand("10"), Ok((Pico(10_000_000_000), Exactness::Exact)));
    assert_eq!(Pico::per_unit("1000"), Ok((Pico::MAX, Exactness::Exact)));
    assert_eq!(Pico::per_unit("1000.000000000001"), Err(DecimalError::OutOfRange));
    assert_eq!(Pico::per_million("-1"), Err(DecimalError::OutOfRange));
}

#[test]
fn money_shows_a_decimal_and_the_integer_as_strings() {
    let json = |money: Money| serde_json::to_string(&money).unwrap();
    assert_eq!(json(Money::new(Nano(4_982_688_000), Currency::USD)), r#"{"usd":"4.982688000","nano":"4982688000"}"#);
    assert_eq!(json(Money::new(Nano(-1), Currency::XTS)), r#"{"xts":"-0.000000001","nano":"-1"}"#);
    assert_eq!(Nano(i64::MIN).to_string(), "-9223372036.854775808");
}

#[test]
fn arithmetic_that_does_not_fit_says_so() {
    assert_eq!(Nano::MAX.checked_add(Nano(1)), None);
    assert_eq!(Nano(i64::MIN).checked_neg(), None);
    assert_eq!(Nano::checked_sum([Nano::MAX, Nano(1), Nano(-5)]), None);
    assert_eq!(charge_sum(i128::MAX, Ppm::MAX), Err(MoneyError::TooLarge));
    assert_eq!(charge_sum(i128::from(i64::MAX) * 1_000 + 1, Ppm::ONE), Err(MoneyError::TooLarge));
    assert_eq!(Ppm::new(100_000_001), None);
    assert_eq!(Pico::MAX.times(Ppm::MAX), None);
}

#[test]
fn a_factor_leaves_a_whole_price() {
    assert_eq!(Pico(3_625).times(Ppm(500_000)), Some(Pico(1_812)), "1812.5 goes to even");
    assert_eq!(Pico(3_627).times(Ppm(500_000)), Some(Pico(1_814)));
    assert_eq!(Pico(600_000).times(Ppm(2_000_000)), Some(Pico(1_200_000)));
}

fn ppm() -> impl Strategy<Value = Ppm> {
    prop_oneof![Just(Ppm::ONE), (1u32..=100_000_000).prop_map(Ppm)]
}

proptest! {
    #[test]
    fn text_and_number_agree(n in any::<i64>()) {
        prop_assert_eq!(Nano(n).to_string().parse::<Nano>(), if n == i64::MIN { Err(DecimalError::OutOfRange) } else { Ok(Nano(n)) });
    }

    #[test]
    fn more_use_never_costs_less(a in 0i128..1_000_000_000_000_000_000, b in 0i128..1_000_000_000_000_000_000, m in ppm()) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(charge_sum(low, m).unwrap() <= charge_sum(high, m).unwrap());
    }

    #[test]
    fn use_is_never_free(a in 1i128..1_000_000_000_000, m in ppm()) {
        prop_assert!(charge_sum(a, m).unwrap() > Nano::ZERO);
    }

    #[test]
    fn the_bias_is_below_one_billionth(a in 0i128..1_000_000_000_000_000, m in ppm()) {
        let charged = i128::from(charge_sum(a, m).unwrap().get()) * PER_NANO;
        let exact = a * i128::from(m.get());
        prop_assert!(charged >= exact && charged - exact < PER_NANO);
    }

    #[test]
    fn lines_add_up_and_none_is_off_by_one_or_more(lines in prop::collection::vec(0i128..1_000_000_000_000, 0..12), m in ppm()) {
        let (total, shares) = split_charge(&lines, m).unwrap();
        prop_assert_eq!(Nano::checked_sum(shares.iter().copied()), Some(total));
        prop_assert_eq!(charge_sum(lines.iter().sum(), m), Ok(total));
        for (line, share) in lines.iter().zip(&shares) {
            let exact = line * i128::from(m.get());
            prop_assert!((i128::from(share.get()) * PER_NANO - exact).abs() < PER_NANO);
        }
    }
}
