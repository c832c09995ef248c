# $name (String): the visitor, as in ?name=Ada
greeting = Hello, { $name }!
greeting-stranger = Hello!
# $count (Number): unread messages
unread = { $count ->
    [0] You have no unread messages.
    [one] You have one unread message.
   *[other] You have { $count } unread messages.
}
choose = Choose a language: /language/en, /language/de, /language/fr, /language/ja
