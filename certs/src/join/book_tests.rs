use super::*;
use crate::request::PrivateKey;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const ROOT: CaFingerprint = CaFingerprint([7; 32]);

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn nodes(count: usize) -> Vec<(CreditCode, NodeName)> {
    let department: CreditCode = "11100000000013338W".parse().unwrap();
    (0..count).map(|i| (department, format!("n{i:04}").parse().unwrap())).collect()
}

fn key() -> ProvenKey {
    let request = PrivateKey::generate().unwrap().signing_request().unwrap();
    ProvenKey::from_request(&request).unwrap()
}

async fn show(book: &TokenBook, token: &JoinToken, key: &ProvenKey) -> Redemption {
    book.redeem(&token.secret, &token.department, &token.node, key, now()).await.unwrap()
}

#[tokio::test]
async fn tokens_and_their_use_survive_a_restart_and_no_secret_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (key(), key());
    let book = TokenBook::open(folder.path(), now()).unwrap();
    let tokens = book.issue(&nodes(2), ROOT, now(), DAY).await.unwrap();
    assert_eq!(show(&book, &tokens[0], &first).await, Redemption::Redeemed { again: false });
    drop(book);

    let text = std::fs::read_to_string(folder.path().join(BOOK_FILE)).unwrap();
    for token in &tokens {
        assert!(!text.contains(&data_encoding::HEXLOWER.encode(&token.secret.0)));
        assert!(!text.contains(&data_encoding::BASE64.encode(&token.secret.0)));
    }
    let book = TokenBook::open(folder.path(), now()).unwrap();
    let used = Redemption::AlreadyUsed { at: now() };
    assert_eq!(show(&book, &tokens[0], &second).await, used);
    assert_eq!(show(&book, &tokens[0], &first).await, Redemption::Redeemed { again: true });
    assert_eq!(show(&book, &tokens[1], &second).await, Redemption::Redeemed { again: false });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_city_redeems_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let book = TokenBook::open(folder.path(), now()).unwrap();
    let tokens = book.issue(&nodes(878), ROOT, now(), DAY).await.unwrap();
    let key = key();
    let mut tasks = tokio::task::JoinSet::new();
    for token in tokens {
        let (book, key) = (book.clone(), key.clone());
        tasks.spawn(async move { show(&book, &token, &key).await });
    }
    while let Some(redemption) = tasks.join_next().await {
        assert_eq!(redemption.unwrap(), Redemption::Redeemed { again: false });
    }
    drop(book);
    let book = TokenBook::open(folder.path(), now()).unwrap();
    assert!(book.list(now()).iter().all(|t| t.status == super::super::TokenStatus::Used(now())));
    assert_eq!(book.list(now()).len(), 878);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_keys_that_show_one_token_at_once_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let book = TokenBook::open(folder.path(), now()).unwrap();
    let token = book.issue(&nodes(1), ROOT, now(), DAY).await.unwrap().remove(0);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (book, token, key) = (book.clone(), token.clone(), key());
        tasks.spawn(async move { show(&book, &token, &key).await });
    }
    let outcomes = tasks.join_all().await;
    let good = outcomes.iter().filter(|o| matches!(o, Redemption::Redeemed { .. })).count();
    assert_eq!(good, 1, "{outcomes:?}");
}

#[tokio::test]
async fn a_torn_end_is_mended_and_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(BOOK_FILE);
    let book = TokenBook::open(folder.path(), now()).unwrap();
    let tokens = book.issue(&nodes(3), ROOT, now(), DAY).await.unwrap();
    drop(book);
    let whole = std::fs::read(&path).unwrap();

    std::fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let book = TokenBook::open(folder.path(), now()).unwrap();
    assert_eq!(book.list(now()).len(), 2);
    assert_eq!(show(&book, &tokens[0], &key()).await, Redemption::Redeemed { again: false });
    drop(book);
    assert_eq!(TokenBook::open(folder.path(), now()).unwrap().list(now()).len(), 2);

    let mut damaged = whole;
    damaged[30] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let refused = TokenBook::open(folder.path(), now());
    assert!(matches!(refused, Err(BookError::Damaged { line: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn one_process_at_a_time_and_expired_tokens_are_forgotten_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let book = TokenBook::open(folder.path(), now()).unwrap();
    assert!(matches!(TokenBook::open(folder.path(), now()), Err(BookError::InUse(_))));
    book.issue(&nodes(3), ROOT, now(), DAY).await.unwrap();
    let (department, node) = nodes(1).remove(0);
    assert_eq!(book.withdraw(&department, Some(&node)).await.unwrap(), 1);
    drop(book);
    let long_after = now() + DAY * 40;
    assert!(TokenBook::open(folder.path(), long_after).unwrap().list(long_after).is_empty());
}
