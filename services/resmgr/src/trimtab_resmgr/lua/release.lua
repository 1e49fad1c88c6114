-- Takes each token out of its pool, in order.
--
-- ARGV: two for each request: place of its pool in KEYS, token
-- Returns one for each: 1 where the token was held, 0 where not

local answers = {}
for at = 1, #ARGV, 2 do
  local pool, token = pool_at(ARGV[at]), ARGV[at + 1]
  local was_held = held(pool, token)
  if was_held then
    drop(pool, token)
  end
  answers[#answers + 1] = was_held and 1 or 0
end
return answers
