# $name (String): the visitor, as in ?name=Ada
greeting = こんにちは、{ $name }さん。
greeting-stranger = こんにちは。
# $count (Number): unread messages. Japanese has one form for every number.
unread = { $count ->
    [0] 未読メッセージはありません。
   *[other] 未読メッセージが{ $count }件あります。
}
choose = 言語を選ぶ：/language/en、/language/de、/language/fr、/language/ja
