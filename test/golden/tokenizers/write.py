"""A byte-level BPE that Hugging Face's tokenizers trained, and what it makes of some texts: python3 test/golden/tokenizers/write.py (needs tokenizers)."""
import json, pathlib, random
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

here = pathlib.Path(__file__).parent
random.seed(5)
stems = "train step rate loss grad batch model learn deep net work data layer norm token word weight bias epoch café naïve über 日本語 данные 🙂".split()
ends = ["", "s", "ing", "ed", "er", "'s", "'ll", "-like", ".", ",", "!", " 2024", " 3.14", "\n\n", "  "]
lines = []
for _ in range(400):
    lines.append(" ".join(random.choice(stems).capitalize() * (random.random() < 0.2) or random.choice(stems) + random.choice(ends) for _ in range(9)))
(here / "corpus.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<|pad|>", "<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
tokenizer.train_from_iterator(lines, trainer)
tokenizer.save(str(here / "bpe.json"))
texts = ["training the model", "", " ", "The learner's rates, 2024!\n\n  deep", "café 日本語 🙂 \u00ad zero\u200bwidth", "x" * 50, "a<|end|>b", "\ttabs\r\nand  spaces ", "naïve'll"]
(here / "encoded.json").write_text(json.dumps([[t, tokenizer.encode(t).ids] for t in texts]) + "\n")
