import { nn } from 'anneal';

/** LeNet's grandchild for 28 x 28 images: 1.2 million parameters. */
export const cnn = ({ dropout: [early, late] = [0.25, 0.5] } = {}): nn.Sequential =>
  new nn.Sequential(
    new nn.Conv2d(1, 32, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.Conv2d(32, 64, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.MaxPool2d(2),
    new nn.Dropout(early),
    new nn.Flatten(),
    new nn.Linear(9216, 128),
    new nn.ReLU(),
    new nn.Dropout(late),
    new nn.Linear(128, 10),
  );
